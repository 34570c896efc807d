package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// What a deployment is about to take away is looked at in the seconds in which the function's role may nothing yet.
func TestDeploymentsCallWaitsUntilTheRoleMay(t *testing.T) {
	const refused = 7
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if asked++; asked <= refused {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"__type": "AccessDeniedException"}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"Clusters": []}`)
	}))
	defer server.Close()
	made, err := wire(us, aws.Config{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			})
		}})
	if err != nil {
		t.Fatal(err)
	}
	handle := made.(func(context.Context, json.RawMessage) error)
	if err := handle(t.Context(), json.RawMessage(`{"tf": {"action": "delete"}, "cluster": "j-1"}`)); err != nil || asked != refused+1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}
