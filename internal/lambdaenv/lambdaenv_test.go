package lambdaenv

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sluice-data/sluice/internal/settings"
)

func TestClientsUseTheRolesCredentialsRegionAndEndpoint(t *testing.T) {
	var got *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = w.Write([]byte(`{}`))
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session", "AWS_REGION": "sa-east-1", "AWS_ENDPOINT_URL": server.URL,
	} {
		t.Setenv(name, value)
	}
	cfg, err := AWS()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dynamodb.NewFromConfig(cfg).ListTables(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got == nil || got.Header.Get("X-Amz-Security-Token") != "session" {
		t.Fatalf("got %+v", got)
	}
	signature := got.Header.Get("Authorization")
	if !strings.Contains(signature, "Credential=AKIDEXAMPLE/") || !strings.Contains(signature, "/sa-east-1/dynamodb/") {
		t.Errorf("signed by %s", signature)
	}
}

func TestWithoutAnEndpointAWSAnswers(t *testing.T) {
	t.Setenv("AWS_REGION", "sa-east-1")
	t.Setenv("AWS_ENDPOINT_URL", "")
	cfg, err := AWS()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.BaseEndpoint != nil {
		t.Errorf("got %q", *cfg.BaseEndpoint)
	}
}

func TestEachLineNamesStackAndCountry(t *testing.T) {
	for text, want := range map[string][2]any{`{"stack":"prod","country":"us"}`: {"prod", "us"}, "not JSON": {nil, nil}} {
		t.Setenv(settings.EnvVar, text)
		var out bytes.Buffer
		logger(&out).Info("run ended")
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["Stack"] != want[0] || line["Country"] != want[1] || line["msg"] != "run ended" {
			t.Errorf("settings %s: %s", text, out.String())
		}
	}
}
