package lambdaenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/sluice-data/sluice/internal/discovery"
)

// TestMain is a function when it is started as one.
func TestMain(m *testing.M) {
	if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
		os.Exit(m.Run())
	}
	Start(func(country discovery.Country, cfg aws.Config) (any, error) {
		if cfg.Region == "" {
			return nil, errors.New("no region")
		}
		return func(_ context.Context, word string) (string, error) { return word + " from " + country.Country, nil }, nil
	})
}

// start runs a function against a runtime API with one event. It returns what the function answered, and what it wrote.
func start(t *testing.T, environment ...string) (answer, said string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/invocation/next") && answer == "":
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", "9999999999999")
			_, _ = w.Write([]byte(`"hello"`))
		case strings.HasSuffix(r.URL.Path, "/response"):
			body, _ := io.ReadAll(r.Body)
			answer = string(body)
			w.WriteHeader(http.StatusAccepted)
			_ = cmd.Process.Kill()
		}
	}))
	defer api.Close()
	cmd.Env, cmd.Stderr = append(environment, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(api.URL, "http://")), &out
	_ = cmd.Run() // it is killed, or says why it ended
	return answer, out.String()
}

func TestFunctionHandlesEventsWithItsSettings(t *testing.T) {
	if answer, said := start(t, discovery.EnvVar+`={"country":"us"}`, "AWS_REGION=sa-east-1"); answer != `"hello from us"` {
		t.Errorf("answered %s\n%s", answer, said)
	}
}

func TestFunctionThatCannotStartSaysWhy(t *testing.T) {
	for want, environment := range map[string]string{
		"environment variable SETTINGS is empty": "AWS_REGION=sa-east-1",
		"no region":                              discovery.EnvVar + `={"country":"us"}`,
	} {
		if answer, said := start(t, environment); answer != "" || !strings.Contains(said, want) {
			t.Errorf("answered %q, said %s", answer, said)
		}
	}
}

// service answers every call with nothing, and keeps the last one.
func service(t *testing.T) (url string, last *http.Request) {
	t.Helper()
	last = new(http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = *r
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func TestClientsUseTheRolesCredentialsRegionAndEndpoint(t *testing.T) {
	url, got := service(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "session", "AWS_REGION": "sa-east-1", "AWS_ENDPOINT_URL": url,
	} {
		t.Setenv(name, value)
	}
	if _, err := dynamodb.NewFromConfig(config()).ListTables(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if token := got.Header.Get("X-Amz-Security-Token"); token != "session" {
		t.Errorf("session token %q", token)
	}
	signature := got.Header.Get("Authorization")
	if !strings.Contains(signature, "Credential=AKIDEXAMPLE/") || !strings.Contains(signature, "/sa-east-1/dynamodb/") {
		t.Errorf("signed by %s", signature)
	}
}

func TestOneServiceMayAnswerElsewhere(t *testing.T) {
	of, atDynamoDB := service(t)
	others, atOthers := service(t)
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "sa-east-1",
		"AWS_ENDPOINT_URL": others, "AWS_ENDPOINT_URL_DYNAMODB": of} {
		t.Setenv(name, value)
	}
	if _, err := dynamodb.NewFromConfig(config()).ListTables(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if atDynamoDB.Method != http.MethodPost || atOthers.Method != "" {
		t.Errorf("%q there, %q elsewhere", atDynamoDB.Method, atOthers.Method)
	}
}

func TestWithoutAnEndpointAWSAnswers(t *testing.T) {
	t.Setenv("AWS_REGION", "sa-east-1")
	t.Setenv("AWS_ENDPOINT_URL", "")
	t.Setenv("AWS_ENDPOINT_URL_DYNAMODB", "")
	options := dynamodb.NewFromConfig(config()).Options()
	if options.BaseEndpoint != nil || options.RetryMaxAttempts != attempts {
		t.Errorf("endpoint %q, %d attempts", aws.ToString(options.BaseEndpoint), options.RetryMaxAttempts)
	}
}

func TestEachLineNamesStackAndCountry(t *testing.T) {
	for text, want := range map[string][2]any{`{"stack":"prod","country":"us"}`: {"prod", "us"}, "not JSON": {nil, nil}} {
		country, _ := discovery.Parse([]byte(text))
		var out bytes.Buffer
		logger(&out, country).Info("run ended")
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["Stack"] != want[0] || line["Country"] != want[1] || line["msg"] != "run ended" {
			t.Errorf("settings %s: %s", text, out.String())
		}
	}
}
