// Package discovery is the document by which everybody finds the deployed parts of a country: functions, command and console.
//
// The deployment writes one document a country into a parameter of AWS Systems Manager, whose name follows from stack and country
// (ParameterName). It is a Country as JSON, with names and limits only: nothing in it is secret, and nothing in it grows with the number
// of feeds, days or people. Writer and readers share the type, so that a renamed field is a compile error instead of an empty string at
// run time. Reading parameters is left to package documents, since this one knows no SDK.
package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Version is the version of the document. It grows with every change of Country that a reader of another version would misread or refuse;
// as fields that are not known are refused, that is every field that comes, goes or means something else.
const Version = 1

// EnvVar is the environment variable that tells a function which parameter holds its country's document: the parameter's name and
// version, "/sluice/prod/countries/us:7", so that a document that changed is a configuration that changed, and no running copy of a
// function goes on with an older one.
const EnvVar = "SLUICE_DISCOVERY"

// MaxBytes is the most that a parameter of the standard tier holds: "Managing parameter tiers" in the user guide,
// https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
const MaxBytes = 4096

// EventReceives is how often a landed file's event is received before it goes to the dead letters: five times, as AWS recommends for queues
// that Lambda reads ("Creating and configuring an Amazon SQS event source mapping" in its developer guide).
const EventReceives = 5

// Path is the path right below which the documents of a stack's countries are, and nothing else.
func Path(stack string) string { return "/sluice/" + stack + "/countries" }

// ParameterName is the name of the parameter with a country's document.
func ParameterName(stack, country string) string { return Path(stack) + "/" + country }

// Country names the deployed parts of one country in one stack.
type Country struct {
	Version  int    `json:"version"`  // Version is the document's, and written by JSON.
	Stack    string `json:"stack"`    // Stack is the Pulumi stack, for example "prod".
	Country  string `json:"country"`  // Country is the ISO 3166-1 alpha-2 code in lower case.
	Account  string `json:"account"`  // Account is the AWS account that the country is in.
	Region   string `json:"region"`   // Region is the AWS region the country runs in.
	TimeZone string `json:"timeZone"` // TimeZone is the IANA zone whose midnight ends a day.
	Parallel int    `json:"parallel"` // Parallel is how many jobs may run at once.

	Buckets   Buckets   `json:"buckets"`
	Databases Databases `json:"databases"`
	Workgroup string    `json:"workgroup"` // Workgroup is the Athena workgroup of queries that no person's role asks.
	Tables    Tables    `json:"tables"`
	Queues    Queues    `json:"queues"`
	Topics    Topics    `json:"topics"`
	Compute   Compute   `json:"compute"`
	Google    Google    `json:"google"`
}

// Buckets are the names of the country's S3 buckets.
type Buckets struct {
	Landing   string `json:"landing"`
	Validated string `json:"validated"`
	Invalid   string `json:"invalid"`
	Versioned string `json:"versioned"`
	Curated   string `json:"curated"`
	Artifacts string `json:"artifacts"`
	Logs      string `json:"logs"`
}

// Databases are the names of the country's Glue databases, one a stage.
type Databases struct {
	Landing   string `json:"landing"`
	Validated string `json:"validated"`
	Invalid   string `json:"invalid"`
	Versioned string `json:"versioned"`
	Curated   string `json:"curated"`
}

// Tables are the names of the ledger's DynamoDB tables.
type Tables struct {
	Feeds    string `json:"feeds"`    // Feeds holds one item a feed, written by the deployment.
	Jobs     string `json:"jobs"`     // Jobs holds one item a feed and day.
	Runs     string `json:"runs"`     // Runs holds one item an attempt at a job.
	Files    string `json:"files"`    // Files holds one item a file that landed.
	Progress string `json:"progress"` // Progress holds each feed's last processed day, and the slots in use.
}

// Queues are the URLs of the country's SQS queues.
type Queues struct {
	Landed      string `json:"landed"` // Landed has the events of landed files.
	Tickets     string `json:"tickets"`
	DeadLetters string `json:"deadLetters"`
}

// Topics are the ARNs of the country's SNS topics.
type Topics struct {
	Jobs   string `json:"jobs"`
	Alerts string `json:"alerts"`
}

// Compute says how the record job is started. Keys are object keys in the artifacts bucket.
type Compute struct {
	TemplateKey string `json:"templateKey"` // TemplateKey is the cluster's launch template: RunJobFlow's input as JSON.
	MainKey     string `json:"mainKey"`     // MainKey is the job's main.py.
	PackageKey  string `json:"packageKey"`  // PackageKey is the zip of the jobs package, for --py-files.
	KMSKeyARN   string `json:"kmsKeyArn"`   // KMSKeyARN is the key that records are encrypted with, by Iceberg's S3FileIO and by who seals files.
	LogKeyARN   string `json:"logKeyArn"`   // LogKeyARN is the key that EMR Serverless encrypts runs' logs with.

	CertificateKey string `json:"certificateKey"` // CertificateKey is the zip with the certificate that nodes talk to each other under.
	QuietMinutes   int    `json:"quietMinutes"`   // QuietMinutes is how long a standing cluster must be up before it may be called idle.

	Serverless Serverless `json:"serverless"`
	GlueJob    string     `json:"glueJob"` // GlueJob is the name of the Glue job that runs the record job.
}

// Serverless says where EMR Serverless runs the record job, and as whom.
type Serverless struct {
	ApplicationID string `json:"applicationId"`
	RoleARN       string `json:"roleArn"` // RoleARN is the role that runs have.
}

// Google says where the country's results go, and as whom. Nothing in it is secret.
type Google struct {
	Project        string `json:"project"`
	Dataset        string `json:"dataset"`
	Location       string `json:"location"`
	LoadBucket     string `json:"loadBucket"`     // LoadBucket is the Cloud Storage bucket that load jobs read from.
	Audience       string `json:"audience"`       // Audience is the workload identity pool provider, "//iam.googleapis.com/projects/…".
	ServiceAccount string `json:"serviceAccount"` // ServiceAccount is the e-mail of the account that the function impersonates.
}

// Location is the country's time zone.
func (c Country) Location() (*time.Location, error) {
	zone, err := time.LoadLocation(c.TimeZone) // "" is UTC
	if err != nil {
		return nil, fmt.Errorf("discovery: country %q: %w", c.Country, err)
	}
	return zone, nil
}

// JSON renders the document. One that a parameter does not hold is refused.
func (c Country) JSON() (string, error) {
	c.Version = Version
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("discovery: country %q: %w", c.Country, err)
	}
	if len(text) > MaxBytes {
		return "", fmt.Errorf("discovery: country %q: the document has %d bytes, and a parameter of AWS Systems Manager holds %d: shorten the names in it, of which the stack's is the first",
			c.Country, len(text), MaxBytes)
	}
	return string(text), nil
}

// VersionError says that a document has another version than the one that is read here.
type VersionError struct{ Found int }

func (e VersionError) Error() string {
	if e.Found > Version {
		return fmt.Sprintf("its document has version %d, and this program reads version %d: update the program (make commands in a newer checkout)", e.Found, Version)
	}
	return fmt.Sprintf("its document has version %d, and this program reads version %d: deploy the stack again with this checkout (make up)", e.Found, Version)
}

// Parse reads the document of a country. What it does not know, or misses, it refuses: a VersionError where a deployment of another version
// wrote it, and otherwise an error that names the field.
func Parse(stack, country string, text []byte) (Country, error) {
	c, err := parse(text)
	if err == nil && (c.Stack != stack || c.Country != country) {
		err = fmt.Errorf("its document is the one of country %q in stack %q; deploy the stack again", c.Country, c.Stack)
	}
	if err != nil {
		return Country{}, fmt.Errorf("discovery: country %q in stack %q: %w", country, stack, err)
	}
	return c, nil
}

func parse(text []byte) (Country, error) {
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return Country{}, fmt.Errorf("its document is no JSON object (%w); deploy the stack again", err)
	}
	var versioned struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(text, &versioned); err != nil || versioned.Version == nil {
		return Country{}, errors.New("its document says no version; deploy the stack again")
	}
	if *versioned.Version != Version {
		return Country{}, VersionError{*versioned.Version}
	}
	var c Country
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Country{}, fmt.Errorf("its document cannot be read (%w); deploy the stack again", err)
	}
	complete, err := c.fields()
	if err != nil {
		return Country{}, err
	}
	if missing := Missing(complete); missing != "" {
		return Country{}, fmt.Errorf("its document says nothing of %s; deploy the stack again", missing)
	}
	return c, nil
}

// fields is the document as nested maps.
func (c Country) fields() (map[string]any, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	return fields, json.Unmarshal(text, &fields)
}

// Missing is the path of a text that is empty in a document as nested maps, the first one in order of names; "" when all are there. A
// deployment that goes on after a resource failed is given empty text for what AWS would have said of it.
func Missing(fields map[string]any) string {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		switch v := fields[name].(type) {
		case string:
			if v == "" {
				return name
			}
		case map[string]any:
			if below := Missing(v); below != "" {
				return name + "." + below
			}
		}
	}
	return ""
}

// Catalog begins the names of a country's databases and workgroups.
func Catalog(stack, country string) string { return "sluice_" + stack + "_" + country }

// WorkerDisks is what the data keys of the disks are bound to on which EMR Serverless's workers keep what does not fit their memory: the
// stack and the country, as DisksOf writes them. So the service can open disks, and nothing else that is encrypted under the same key.
const WorkerDisks = "sluice:disks"

// DisksOf is the value of WorkerDisks in a country.
func DisksOf(stack, country string) string { return stack + "/" + country }
