package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-data/sluice/internal/discovery"
)

func TestWhatIsTypedReachesPulumiAsOneArgument(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "pulumi"), []byte("#!/bin/sh\nprintf '<%s>' \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := pulumi(t.Context(), root, "cancel", "--stack", "dev; touch taken $(touch taken) 'x")
	if want := "<cancel><--stack><dev; touch taken $(touch taken) 'x>"; err != nil || string(out) != want {
		t.Errorf("%s, %v; want %s", out, err, want)
	}
	if _, err := os.Stat(filepath.Join(root, "taken")); err == nil {
		t.Error("a shell read what was typed")
	}
}

// document is one of a country in which every text is there.
func document(t *testing.T, stack, country string) string {
	t.Helper()
	text, err := json.Marshal(discovery.Country{Version: discovery.Version})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(strings.ReplaceAll(string(text), `""`, `"x"`), `"stack":"x","country":"x"`, `"stack":"`+stack+`","country":"`+country+`"`, 1)
}

// inAccount works outside of any checkout, with credentials of an account whose Systems Manager has parameters, or answers with an error's
// code. It returns where the calls that came were signed for.
func inAccount(t *testing.T, parameters map[string]string, code string) (regions *[]string) {
	t.Helper()
	regions = &[]string{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*regions = append(*regions, strings.Split(r.Header.Get("Authorization"), "/")[2])
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if code != "" {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"__type": code, "message": "User: ann is not authorized"})
			return
		}
		var in struct {
			Path      string
			Recursive bool
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("X-Amz-Target") != "AmazonSSM.GetParametersByPath" {
			t.Errorf("%s: %v", r.Header.Get("X-Amz-Target"), err)
		}
		found := []map[string]string{}
		for name, value := range parameters {
			if rest, below := strings.CutPrefix(name, in.Path+"/"); below && (in.Recursive || !strings.Contains(rest, "/")) {
				found = append(found, map[string]string{"Name": name, "Value": value})
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"Parameters": found})
	}))
	t.Cleanup(server.Close)
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_CONFIG_FILE": "none", "AWS_SHARED_CREDENTIALS_FILE": "none", "AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_DEFAULT_REGION": "", "AWS_SESSION_TOKEN": ""} {
		t.Setenv(name, value)
	}
	return regions
}

func TestCountriesOfAStackAreFoundWithoutACheckoutOrPulumi(t *testing.T) {
	regions := inAccount(t, map[string]string{"/sluice/prod/countries/us": document(t, "prod", "us"), "/sluice/prod/countries/uy": document(t, "prod", "uy"),
		"/sluice/dev/countries/es": document(t, "dev", "es"), "/sluice/prod/compute/us/emr": "off"}, "")
	found, err := discover(t.Context(), "prod")
	if err != nil {
		t.Fatal(err)
	}
	if codes, err := found.codes(""); err != nil || strings.Join(codes, " ") != "us uy" || found["uy"].Country.Country != "uy" {
		t.Errorf("%v, %v", codes, err)
	}
	if len(*regions) != 1 || (*regions)[0] != "eu-west-1" {
		t.Errorf("asked in %v", *regions)
	}
}

func TestStackThatIsNotFoundIsToldWithTheWayOut(t *testing.T) {
	prod := map[string]string{"/sluice/prod/countries/us": document(t, "prod", "us")}
	for _, c := range []struct {
		name, stack, code string
		environment       map[string]string
		want              string
	}{
		{"not deployed, or elsewhere", "dev", "", nil, `stack "dev": no country of it is in region eu-west-1 of the account that your AWS credentials are of; name another region (AWS_REGION) ` +
			`or profile (AWS_PROFILE), or deploy the stack (make up STACK=dev)`},
		{"no right", "prod", "AccessDeniedException", nil, "whoever works on the stack may ssm:GetParametersByPath there: every role of the access table does"},
		{"no region", "prod", "", map[string]string{"AWS_REGION": ""}, `stack "prod": no AWS region: set AWS_REGION, or the region of your profile, to the one of sluice:aws in the stack's file`},
		{"no credentials", "prod", "", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, `stack "prod": no AWS credentials: log in, for example with 'aws sso login', or name a profile in AWS_PROFILE (`},
		{"expired credentials", "prod", "ExpiredTokenException", nil, "ExpiredTokenException"},
	} {
		t.Run(c.name, func(t *testing.T) {
			inAccount(t, prod, c.code)
			for name, value := range c.environment {
				t.Setenv(name, value)
			}
			if _, err := discover(t.Context(), c.stack); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	var wrong usageError
	for _, name := range []string{"", "prod/us", "../prod", "Prod", "prod; true", "acme/sluice/prod"} {
		if _, err := discover(t.Context(), name); !errors.As(err, &wrong) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAccessTableIsReadAsDeployed(t *testing.T) {
	inAccount(t, map[string]string{"/sluice/prod/access/ana/1": `{"version":1,"first":1,"may":[{"country":"us","stage":"curated","verbs":["query"]}]}`,
		"/sluice/prod/access/operator/1": `{"version":1,"first":1,"may":[]}`}, "")
	table, err := accessTable(t.Context(), "prod")
	if err != nil || len(table) != 2 || len(table["ana"].May) != 1 || table["ana"].May[0].Stage != "curated" {
		t.Errorf("%+v, %v", table, err)
	}
	if _, err := accessTable(t.Context(), "dev"); err == nil || !strings.Contains(err.Error(), `stack "dev": no access table is deployed in region eu-west-1`) {
		t.Errorf("none: %v", err)
	}
}

func TestBadDocumentKeepsBackWhoAsksForItAndNobodyElse(t *testing.T) {
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"jobs --country us": {exitDone, ""},
		"jobs --country pr": {exitError, "deploy the stack again with this checkout (make up)"},
		"jobs":              {exitError, "deploy the stack again with this checkout (make up)"},
		"jobs --country uy": {exitUsage, `no country "uy" in the stack; it has pr, us`},
	} {
		s := newStage()
		s.unusable = map[string]error{"pr": discovery.VersionError{Found: 0}}
		if code, _, errOut := s.run(t, strings.Fields(args)...); code != want.code || !strings.Contains(errOut, want.text) {
			t.Errorf("%s: exit %d, %s", args, code, errOut)
		}
	}
}
