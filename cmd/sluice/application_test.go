package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
)

func TestStartedApplicationIsStoppedAndAwaited(t *testing.T) {
	for name, c := range map[string]struct {
		states  []string // what it is, one look after the other
		stopped bool
		calls   []string // what changed something
	}{
		"never started":   {[]string{"CREATED"}, false, nil},
		"stopped already": {[]string{"STOPPED"}, false, nil},
		"stopping itself": {[]string{"STOPPING", "STOPPED"}, false, nil},
		"started":         {[]string{"STARTED", "STOPPING", "STOPPED"}, true, []string{"POST /applications/00app/stop"}},
		"starting":        {[]string{"STARTING", "STARTED", "STOPPING", "STOPPED"}, true, []string{"POST /applications/00app/stop"}},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			looks := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if r.Method != http.MethodGet {
					calls = append(calls, r.Method+" "+r.URL.Path)
					_, _ = w.Write([]byte("{}"))
					return
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"application": map[string]any{"state": c.states[looks]}})
				looks++
			}))
			defer server.Close()
			client := emrserverless.New(emrserverless.Options{Region: "us-east-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
			stopped, err := serverlessApplication{client, "00app", time.Millisecond}.Stop(t.Context())
			if err != nil || stopped != c.stopped || !slices.Equal(calls, c.calls) || looks != len(c.states) {
				t.Errorf("%v, %v after %d looks, calls %q", stopped, err, looks, calls)
			}
		})
	}
}
