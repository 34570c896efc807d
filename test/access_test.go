//go:build engine

package test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// permission is a line of `sluice access WHO KEY --json`.
type permission struct {
	Role, Country, Stage, Verb string
	Allowed                    bool
}

// rolesDoWhatTheTableSays takes the roles of the access table, tries a sample of what they may and may not do, and compares what AWS
// lets them with what `sluice access` says.
func rolesDoWhatTheTableSays(t *testing.T, d deployment) {
	running := decode[status](t, d, "local", "status")
	deployed := decodeOutputs(t, d)
	tried := 0
	for _, who := range []string{"analysts", "feeder", "operator"} {
		clients := map[string]*s3.Client{}
		for _, key := range []string{"airlines/a.csv", "airlines2/a.csv", "Airlines/a.csv", "flights/a.csv", "airlines/../flights/a.csv", "airlines%2Fa.csv"} {
			for _, p := range decode[[]permission](t, d, "access", who, key) {
				if p.Role == "" { // who may nothing in a country has no role for it
					if p.Allowed {
						t.Errorf("%s is allowed without a role: %+v", who, p)
					}
					continue
				}
				if clients[p.Role] == nil {
					clients[p.Role] = s3.NewFromConfig(as(running, p.Role), func(o *s3.Options) { o.UsePathStyle = true })
				}
				objects, bucket := clients[p.Role], deployed.Countries[p.Country].Buckets[p.Stage]
				var err error
				switch p.Verb {
				case "list":
					_, err = objects.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &key})
				case "read":
					_, err = objects.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
				case "delete": // nothing is there to be deleted
					_, err = objects.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
				case "write":
					if p.Allowed { // a file that landed would become a job
						continue
					}
					_, err = objects.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("x")})
				}
				sameAnswer(t, who, p.Verb, bucket, key, p.Allowed, err)
				tried++
			}
		}
	}
	t.Logf("%d actions tried with the credentials of roles", tried)
	if tried < 500 {
		t.Error("these are not the table's people")
	}

	queriesDoWhatTheTableSays(t, running)
	rolesFindTheirStack(t, running, len(deployed.Countries))

	// An operator sees the ledger of every country.
	for country, c := range deployed.Countries {
		ledger := dynamodb.NewFromConfig(as(running, operatorRole))
		if _, err := ledger.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String(c.Tables["jobs"])}); err != nil {
			t.Errorf("operator, jobs of %s: %v", country, err)
		}
	}
	// A feeder writes what it may, under the country's key.
	bucket, key := deployed.Countries["us"].Buckets["landing"], "airlines/README"
	feeder := s3.NewFromConfig(as(running, personRole("feeder")), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := feeder.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader("x")}); err != nil {
		t.Errorf("feeder: %v", err)
	}
	// It would be no file of any day, which the crawler takes for another table.
	owner := s3.NewFromConfig(account(running), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := owner.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key}); err != nil {
		t.Errorf("%s: %v", key, err)
	}
}

// operatorRole is the role of the local stack's operators.
const operatorRole = "arn:aws:iam::000000000000:role/sluice-local-operator"

// personRole is the role of somebody of the local stack's access table.
func personRole(who string) string {
	return "arn:aws:iam::000000000000:role/sluice-local-access-" + who
}

// rolesFindTheirStack asks for the parameters of the stack with the credentials of roles: all of them find its countries, as the command does
// that they use, operators read the access table, and nobody sees more.
func rolesFindTheirStack(t *testing.T, running status, countries int) {
	t.Helper()
	for role, may := range map[string]map[string]int{
		personRole("analysts"): {"/sluice/local/countries": countries}, personRole("feeder"): {"/sluice/local/countries": countries},
		operatorRole: {"/sluice/local/countries": countries, "/sluice/local/access": 3},
	} {
		client := ssm.NewFromConfig(as(running, role))
		for _, path := range []string{"/sluice/local/countries", "/sluice/local/access", "/sluice/local/compute/us", "/sluice/local", "/sluice/prod/countries"} {
			found, err := client.GetParametersByPath(t.Context(), &ssm.GetParametersByPathInput{Path: &path, Recursive: aws.Bool(true)})
			want, allowed := may[path]
			var refused smithy.APIError
			denied := errors.As(err, &refused) && strings.Contains(refused.ErrorCode(), "AccessDenied")
			if denied == allowed || !denied && (err != nil || len(found.Parameters) != want) {
				t.Errorf("%s, %s: %+v, %v; want %d", role, path, found, err, want)
			}
		}
	}
}

// queriesDoWhatTheTableSays asks Athena with the credentials of roles, in the workgroup of one of them: analysts may query what is curated.
func queriesDoWhatTheTableSays(t *testing.T, running status) {
	t.Helper()
	for _, c := range []struct {
		who, database string
		may           bool
	}{{"analysts", "curated", true}, {"analysts", "validated", false}, {"analysts", "landing", false}, {"feeder", "curated", false}, {"operator", "curated", false}} {
		role := personRole(c.who)
		if c.who == "operator" {
			role = operatorRole
		}
		client := athena.NewFromConfig(as(running, role))
		sql := "select count(*) from sluice_local_us_" + c.database + ".airlines"
		var state, why string
		started, err := client.StartQueryExecution(t.Context(), &athena.StartQueryExecutionInput{QueryString: &sql, WorkGroup: aws.String("sluice_local_us_analysts")})
		if err == nil {
			err = poll(t.Context(), 100*time.Millisecond, func() (bool, error) {
				got, err := client.GetQueryExecution(t.Context(), &athena.GetQueryExecutionInput{QueryExecutionId: started.QueryExecutionId})
				if err == nil {
					state, why = string(got.QueryExecution.Status.State), aws.ToString(got.QueryExecution.Status.StateChangeReason)
				}
				return state == "SUCCEEDED" || state == "FAILED", err
			})
		}
		if err != nil {
			why = err.Error()
		}
		if may := state == "SUCCEEDED"; may != c.may || !may && !strings.Contains(why, "AccessDenied") {
			t.Errorf("%s asks what is %s: %v %s, want %v", c.who, c.database, may, why, c.may)
		}
	}
}

// sameAnswer compares whether an action went through with whether the table allows it. A key that is not there counts as allowed.
func sameAnswer(t *testing.T, who, verb, bucket, key string, said bool, err error) {
	t.Helper()
	var refused smithy.APIError
	denied := errors.As(err, &refused) && strings.Contains(refused.ErrorCode(), "AccessDenied")
	if err != nil && !denied && !(errors.As(err, &refused) && refused.ErrorCode() == "NoSuchKey") {
		t.Errorf("%s %s s3://%s/%s: %v", who, verb, bucket, key, err)
		return
	}
	if denied == said {
		t.Errorf("%s %s s3://%s/%s: the table says %v, AWS: %v", who, verb, bucket, key, said, err)
	}
}

// as is how the local AWS is reached with the credentials of a role.
func as(running status, role string) aws.Config {
	cfg := account(running)
	cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), role))
	return cfg
}

// outputs is what the stack exports, as far as these tests read it.
type outputs struct {
	Countries map[string]struct {
		Dataset, GoogleProject, StateMachine       string
		Buckets, Tables, Queues, Topics, Functions map[string]string
	}
}

func decodeOutputs(t *testing.T, d deployment) (o outputs) {
	t.Helper()
	text, err := d.command(t.Context(), "bin/pulumi", "stack", "output", "--json", "--stack", "local").Output()
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		t.Fatalf("pulumi stack output: %v", err)
	}
	return o
}

// envelope is what the metadata of a sealed object asks KMS with.
func envelope(t *testing.T, metadata map[string]string) (wrapped []byte, context map[string]string) {
	t.Helper()
	wrapped, err := base64.StdEncoding.DecodeString(metadata["x-amz-key-v2"])
	if err == nil {
		err = json.Unmarshal([]byte(metadata["x-amz-matdesc"]), &context)
	}
	if err != nil || len(wrapped) == 0 {
		t.Fatalf("metadata %v: %v", metadata, err)
	}
	return wrapped, context
}

// addSealedFeed adds a feed with the contract of airlines whose files are encrypted by who puts them.
func addSealedFeed(t *testing.T, d deployment) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.root, "contracts", "airlines.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	contract := strings.ReplaceAll(string(text), "airlines", "sealed")
	contract = strings.Replace(contract, "customProperties:\n", "customProperties:\n  - property: sluice.clientSide\n    value: true\n", 1)
	if err := os.WriteFile(filepath.Join(d.root, "contracts", "sealed.yaml"), []byte(contract), 0o644); err != nil {
		t.Fatal(err)
	}
	addFeedLine(t, d, "sealed")
}

// sealedFileGivesTheSameCounts puts the file of a feed that is done into the one whose files are encrypted: the bytes that land are of
// no use without the key, and the job counts the same.
func sealedFileGivesTheSameCounts(t *testing.T, d deployment, inputs string) {
	const day = "2013-01-02"
	paths := dayFiles(t, inputs, "us", "airlines", day)
	d.put(t, 0, "us", "sealed", day, paths...)

	running, deployed := decode[status](t, d, "local", "status"), decodeOutputs(t, d)
	bucket, key := deployed.Countries["us"].Buckets["landing"], "sealed/"+day+"/"+filepath.Base(paths[0])
	got, err := s3.NewFromConfig(account(running), func(o *s3.Options) { o.UsePathStyle = true }).GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != len(plain)+16 || bytes.Contains(stored, plain[:16]) {
		t.Errorf("%d bytes landed of a file of %d", len(stored), len(plain))
	}
	keys := kms.NewFromConfig(as(running, personRole("feeder")))
	wrapped, context := envelope(t, got.Metadata)
	if _, err := keys.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: wrapped, EncryptionContext: context}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("who may not read the feed opens it: %v", err)
	}

	j := d.ended(t, "us", "sealed", day)
	first := decode[[]job](t, d, "jobs", "--country", "us", "--feed", "airlines", "--day", day)[0]
	if j.State != "succeeded" || *j.Input != *first.Input || *j.Validated != *first.Validated || *j.Invalid != *first.Invalid {
		t.Errorf("sealed: %+v\nplain: %+v", j, first)
	}
}
