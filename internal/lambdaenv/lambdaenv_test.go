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
	"slices"
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

// start runs a function with a document against a runtime API with one event, which refuses the document as often as denied says. It returns
// what the function answered, what it wrote, and which parameters it asked for.
func start(t *testing.T, document string, denied int, environment ...string) (answer, said string, asked []string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-Amz-Target") == "AmazonSSM.GetParameter":
			var in struct{ Name string }
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				t.Error(err)
			}
			asked = append(asked, in.Name)
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			if len(asked) <= denied {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"__type":"AccessDeniedException","message":"not authorized to perform: ssm:GetParameter"}`))
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]any{"Name": in.Name, "Value": document}})
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
	cmd.Env, cmd.Stderr = append(environment, "AWS_LAMBDA_RUNTIME_API="+strings.TrimPrefix(api.URL, "http://"), "AWS_ENDPOINT_URL="+api.URL,
		"AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret"), &out
	_ = cmd.Run() // it is killed, or says why it ended
	return answer, out.String(), asked
}

// documentOf is a document in which every text is there.
func documentOf(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(discovery.Country{Version: discovery.Version})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(strings.ReplaceAll(string(text), `""`, `"x"`), `"stack":"x","country":"x"`, `"stack":"prod","country":"us"`, 1)
}

const named = discovery.EnvVar + "=/sluice/prod/countries/us:7"

func TestFunctionHandlesEventsWithTheDocumentThatItsEnvironmentNames(t *testing.T) {
	answer, said, asked := start(t, documentOf(t), 0, named, "AWS_REGION=sa-east-1")
	if answer != `"hello from us"` || !slices.Equal(asked, []string{"/sluice/prod/countries/us:7"}) {
		t.Errorf("answered %s, asked for %q\n%s", answer, asked, said)
	}
}

func TestFunctionWaitsForWhatItsNewRoleMay(t *testing.T) {
	answer, said, asked := start(t, documentOf(t), 2, named, "AWS_REGION=sa-east-1")
	if answer != `"hello from us"` || len(asked) != 3 {
		t.Errorf("answered %s, asked for %q\n%s", answer, asked, said)
	}
}

func TestFunctionThatCannotStartSaysWhy(t *testing.T) {
	for _, c := range []struct {
		document, want string
		environment    []string
	}{
		{documentOf(t), "environment variable SLUICE_DISCOVERY is empty; deploy the function with its stack", []string{"AWS_REGION=sa-east-1"}},
		{documentOf(t), "is no name of a discovery document", []string{discovery.EnvVar + "=elsewhere", "AWS_REGION=sa-east-1"}},
		{`{"version":99}`, "its document has version 99, and this program reads version 1: update the program", []string{named, "AWS_REGION=sa-east-1"}},
		{documentOf(t), "no region", []string{named, "AWS_REGION="}},
	} {
		if answer, said, _ := start(t, c.document, 0, c.environment...); answer != "" || !strings.Contains(said, c.want) {
			t.Errorf("%q: answered %q, said %s", c.environment, answer, said)
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
	for country, want := range map[discovery.Country][2]any{{Stack: "prod", Country: "us"}: {"prod", "us"}, {}: {nil, nil}} {
		var out bytes.Buffer
		logger(&out, country).Info("run ended")
		var line map[string]any
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line["Stack"] != want[0] || line["Country"] != want[1] || line["msg"] != "run ended" {
			t.Errorf("document %+v: %s", country, out.String())
		}
	}
}
