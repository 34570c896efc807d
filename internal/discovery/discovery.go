// Package discovery is what a deployed country tells its functions: the names of everything that they read and write.
//
// The deployment renders one Country as JSON into the environment variable SETTINGS of each function; the functions read it back
// with FromEnv. Both sides share the type, so that a renamed field is a compile error instead of an empty string at run time.
package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"
)

// EnvVar is the environment variable that carries a Country as JSON.
const EnvVar = "SETTINGS"

// EventReceives is how often a landed file's event is received before it goes to the dead letters: five times, as AWS recommends for queues
// that Lambda reads ("Creating and configuring an Amazon SQS event source mapping" in its developer guide).
const EventReceives = 5

// Country names the deployed parts of one country in one stack.
type Country struct {
	Stack    string `json:"stack"`    // Stack is the Pulumi stack, for example "prod".
	Country  string `json:"country"`  // Country is the ISO 3166-1 alpha-2 code in lower case.
	Region   string `json:"region"`   // Region is the AWS region the country runs in.
	TimeZone string `json:"timeZone"` // TimeZone is the IANA zone whose midnight ends a day, "UTC" by default.
	Parallel int    `json:"parallel"` // Parallel is how many jobs may run at once.

	Buckets   Buckets   `json:"buckets"`
	Databases Databases `json:"databases"`
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
	KMSKeyARN   string `json:"kmsKeyArn"`   // KMSKeyARN is the key that Iceberg's S3FileIO encrypts with.
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

// FromEnv reads the settings of the running function.
func FromEnv() (Country, error) {
	text := os.Getenv(EnvVar)
	if text == "" {
		return Country{}, errors.New("discovery: environment variable " + EnvVar + " is empty; deploy the function with its stack")
	}
	return Parse([]byte(text))
}

// Parse reads settings from JSON and refuses fields that it does not know.
func Parse(text []byte) (Country, error) {
	var c Country
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return Country{}, fmt.Errorf("discovery: %w", err)
	}
	return c, nil
}

// WorkerDisks is what the data keys of the disks are bound to on which EMR Serverless's workers keep what does not fit their memory: the
// stack and the country, as DisksOf writes them. So the service can open disks, and nothing else that is encrypted under the same key.
const WorkerDisks = "sluice:disks"

// DisksOf is the value of WorkerDisks in a country.
func DisksOf(stack, country string) string { return stack + "/" + country }
