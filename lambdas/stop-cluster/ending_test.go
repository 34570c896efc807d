package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/sluice-data/sluice/internal/discovery"
)

var us = discovery.Country{Stack: "prod", Country: "us"}

// served answers calls of AWS's JSON protocol.
func served(t *testing.T, answer func(operation string, in map[string]any) any) *string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		_ = json.NewDecoder(r.Body).Decode(&in)
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(answer(operation, in))
	}))
	t.Cleanup(server.Close)
	return &server.URL
}

// ending is EMR with clusters of two countries that end, each after it was looked at some times.
func ending(t *testing.T, looks int) api {
	t.Helper()
	endpoint := served(t, func(_ string, in map[string]any) any {
		found := []map[string]any{{"Id": "j-5", "Name": "sluice-prod-uy-small", "Status": map[string]any{"State": "TERMINATING"}}}
		if looks--; looks >= 0 && slices.Contains(in["ClusterStates"].([]any), any("TERMINATING")) {
			found = append(found, map[string]any{"Id": "j-1", "Name": "sluice-prod-us-small", "Status": map[string]any{"State": "TERMINATING"}})
		}
		return map[string]any{"Clusters": found}
	})
	return api{emr.New(emr.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}), us, time.Millisecond}
}

func TestClustersAreGoneWhenTheLastOfTheCountryHasEnded(t *testing.T) {
	if err := ending(t, 3).Gone(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := ending(t, 1<<30).Gone(ctx); err == nil {
		t.Error("gone before it has ended")
	}
}

func TestStandingClusterIsSwitchedOffBeforeItsEndIsNoted(t *testing.T) {
	var wrote []string
	endpoint := served(t, func(operation string, in map[string]any) any {
		wrote = append(wrote, fmt.Sprint(operation, " ", in["Name"], " ", in["Value"]))
		return map[string]any{}
	})
	s := standing{ssm.New(ssm.Options{Region: "us-east-1", BaseEndpoint: endpoint, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}), us}
	if err := s.Off(t.Context(), "j-1"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"PutParameter /sluice/prod/compute/us/standing off", "PutParameter /sluice/prod/compute/us/standing/ended j-1"}; !slices.Equal(wrote, want) {
		t.Errorf("wrote %q", wrote)
	}
}
