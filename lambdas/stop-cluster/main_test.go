package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emr"
)

func TestMoreClustersThanOneCallMayEndAreEnded(t *testing.T) {
	var want, ended []string
	for n := range 23 {
		want = append(want, fmt.Sprintf("j-%d", n))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct{ JobFlowIds []string }
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.JobFlowIds) > 10 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		ended = append(ended, in.JobFlowIds...)
	}))
	defer server.Close()
	client := emr.NewFromConfig(aws.Config{Region: "eu-west-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	if err := (api{emr: client}).Terminate(t.Context(), want...); err != nil || !slices.Equal(ended, want) {
		t.Errorf("ended %v, %v", ended, err)
	}
}
