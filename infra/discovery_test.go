package infra

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/discovery"
)

const parameter = "aws:ssm/parameter:Parameter"

// readBack is the document in a parameter, as its readers read it.
func readBack(t *testing.T, r registration) discovery.Country {
	t.Helper()
	text, err := json.Marshal(r.Inputs["value"]) // the recorder opened it
	if err != nil {
		t.Fatal(err)
	}
	country, err := discovery.Parse("prod", "us", text)
	if err != nil {
		t.Fatal(err)
	}
	return country
}

func TestFunctionsReadTheDocumentThatTheDeploymentWrites(t *testing.T) {
	registered := record(t, newExample(t).all)
	written := only(registered, parameter)
	if len(written) != 1 || written[0].Inputs["name"] != "/sluice/prod/countries/us" {
		t.Fatalf("parameters: %+v", written)
	}
	country := readBack(t, written[0])
	for want, got := range map[string]string{
		"sluice-prod-us-landing-1a2b3c4d": country.Buckets.Landing, "sluice-prod-us-logs-1a2b3c4d": country.Buckets.Logs, "sluice_prod_us_curated": country.Databases.Curated,
		"sluice_prod_us": country.Workgroup, "name:Table:us-jobs": country.Tables.Jobs, "name:Table:us-progress": country.Tables.Progress,
		"url:Queue:us-landed": country.Queues.Landed, "url:Queue:us-tickets": country.Queues.Tickets, "url:Queue:us-dead-letters": country.Queues.DeadLetters,
		"arn:Topic:us-jobs": country.Topics.Jobs, "arn:Topic:us-alerts": country.Topics.Alerts, "cluster/template.json": country.Compute.TemplateKey,
		"arn:Key:us-data": country.Compute.KMSKeyARN, "arn:Key:us-logs": country.Compute.LogKeyARN, "id:Application:us": country.Compute.Serverless.ApplicationID,
		"//iam.googleapis.com/name:WorkloadIdentityPoolProvider:us": country.Google.Audience, "email:Account:us": country.Google.ServiceAccount,
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	functions := only(registered, "aws:lambda/function:Function")
	for _, r := range functions {
		variables := r.Inputs["environment"].(map[string]any)["variables"].(map[string]any)
		if len(variables) != 1 || variables[discovery.EnvVar] != "/sluice/prod/countries/us:7" { // with the version, so that another document is another configuration
			t.Errorf("%s: %v", r.Name, variables)
		}
	}
	if len(functions) != len(Functions) {
		t.Errorf("%d functions", len(functions))
	}
}

func TestDocumentIsWrittenToTheEnvironmentsRegionToo(t *testing.T) {
	e := newExample(t)
	registered := record(t, func(ctx *pulumi.Context) (err error) {
		if e.home, err = aws.NewProvider(ctx, "home", &aws.ProviderArgs{Region: pulumi.String("eu-central-1")}); err != nil {
			return err
		}
		return e.all(ctx)
	})
	written := only(registered, parameter)
	if len(written) != 2 {
		t.Fatalf("parameters: %+v", written)
	}
	for i, name := range []string{"us", "us-home"} {
		if got := written[i]; got.Name != name || got.Inputs["name"] != "/sluice/prod/countries/us" || strings.Contains(got.Provider, "::home::") != (name == "us-home") || readBack(t, got) != readBack(t, written[0]) {
			t.Errorf("%+v", got)
		}
	}
}

func TestDocumentWithTheLongestNamesFitsItsParameter(t *testing.T) {
	c := discovery.Country{Stack: "abcdefghijk", Country: "us", Account: "111122223333", Region: "ap-southeast-99", TimeZone: "America/Argentina/ComodRivadavia", Parallel: 1_000,
		Google: discovery.Google{Project: strings.Repeat("p", 30), Location: "northamerica-northeast99"}}
	text, err := longest(c).JSON()
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		t.Fatal(err)
	}
	if missing := discovery.Missing(fields); missing != "" {
		t.Errorf("%s has no longest name", missing)
	}
	t.Logf("%d of %d bytes", len(text), discovery.MaxBytes)

	if err := CheckDiscoveryFits(c); err != nil {
		t.Error(err)
	}
	c.Google.Project = strings.Repeat("p", discovery.MaxBytes)
	if err := CheckDiscoveryFits(c); err == nil || !strings.Contains(err.Error(), "and a parameter of AWS Systems Manager holds 4096") {
		t.Errorf("a name as long as a parameter: %v", err)
	}
}
