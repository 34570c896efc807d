package infra

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/dynamodb"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Feed is what the deployment tells a country's ledger about a feed.
type Feed struct {
	Name           string
	ContractKey    string   // ContractKey is the compiled contract's key in the artifacts bucket.
	Hash           string   // Hash is the compiled contract's SHA-256, so that a run can name what it ran by.
	Completeness   string   // Completeness says when a day is complete: marker, count or window.
	ExpectedFiles  int      // ExpectedFiles is how many files make a day complete, for count.
	Prerequisites  []string // Prerequisites are the feeds whose same day has to succeed first.
	WindowMinutes  int      // WindowMinutes is how long after its end a day is waited for.
	Attempts       int      // Attempts is how many runs a job has before it is dead; 0: the rules' default.
	TimeoutMinutes int      // TimeoutMinutes is how many minutes a run may take before people are told; 0: by the day's size.
	Engine         string   // Engine is auto, emr, emr-serverless or glue.
	ClientSide     bool     // ClientSide says that files are encrypted by who puts them.
}

// LedgerArgs is what a Ledger is made of.
type LedgerArgs struct {
	KeyARN  pulumi.StringInput // KeyARN is the key that the tables are encrypted with.
	Feeds   []Feed             // Feeds are written to the feeds table.
	Protect bool               // Protect refuses to delete the tables.
	Tags    map[string]string  // Tags go on everything that takes tags.
}

// Ledger is a country's tables: what feeds there are, and what became of each job, run and file.
type Ledger struct {
	pulumi.ResourceState

	Names map[string]pulumi.StringOutput // Names are the tables' names by feeds, jobs, runs, files and progress.
	ARNs  map[string]pulumi.StringOutput // ARNs are the tables' ARNs by the same words.
}

// key is an attribute of a table's primary key and its DynamoDB type.
type key struct{ name, kind string }

// NewLedger creates a Ledger.
func NewLedger(ctx *pulumi.Context, name string, args *LedgerArgs, opts ...pulumi.ResourceOption) (*Ledger, error) {
	l := &Ledger{Names: map[string]pulumi.StringOutput{}, ARNs: map[string]pulumi.StringOutput{}}
	if err := register(ctx, "sluice:storage:Ledger", name, l, opts); err != nil {
		return nil, err
	}
	for _, t := range []struct {
		word string
		keys []key
	}{
		{"feeds", []key{{"feed", "S"}}},
		{"jobs", []key{{"feed", "S"}, {"day", "S"}}},
		{"runs", []key{{"job", "S"}, {"token", "N"}}},
		{"files", []key{{"job", "S"}, {"file", "S"}}},
		{"progress", []key{{"name", "S"}}},
	} {
		if err := l.table(ctx, name+"-"+t.word, t.word, t.keys, args); err != nil {
			return nil, err
		}
	}
	for _, f := range args.Feeds {
		item, err := f.item()
		if err != nil {
			return nil, fmt.Errorf("feed %q: %w", f.Name, err)
		}
		if _, err := dynamodb.NewTableItem(ctx, name+"-feed-"+f.Name, &dynamodb.TableItemArgs{
			TableName: l.Names["feeds"], HashKey: pulumi.String("feed"), Item: pulumi.String(item)}, pulumi.Parent(l)); err != nil {
			return nil, err
		}
	}
	outputs := pulumi.Map{}
	for word, table := range l.Names {
		outputs[word] = table
	}
	return l, ctx.RegisterResourceOutputs(l, outputs)
}

// table creates a table that is paid by use, encrypted, and can be restored to any second of the last weeks.
func (l *Ledger) table(ctx *pulumi.Context, name, word string, keys []key, args *LedgerArgs) error {
	t := &dynamodb.TableArgs{
		BillingMode:               pulumi.String("PAY_PER_REQUEST"),
		HashKey:                   pulumi.String(keys[0].name),
		ServerSideEncryption:      &dynamodb.TableServerSideEncryptionArgs{Enabled: pulumi.Bool(true), KmsKeyArn: args.KeyARN.ToStringOutput().ToStringPtrOutput()},
		PointInTimeRecovery:       &dynamodb.TablePointInTimeRecoveryArgs{Enabled: pulumi.Bool(true)},
		DeletionProtectionEnabled: pulumi.Bool(args.Protect),
		Tags:                      tagged(args.Tags),
	}
	attributes := dynamodb.TableAttributeArray{}
	for _, k := range keys {
		attributes = append(attributes, &dynamodb.TableAttributeArgs{Name: pulumi.String(k.name), Type: pulumi.String(k.kind)})
	}
	t.Attributes = attributes
	if len(keys) > 1 {
		t.RangeKey = pulumi.String(keys[1].name)
	}
	table, err := dynamodb.NewTable(ctx, name, t, pulumi.Parent(l), pulumi.Protect(args.Protect))
	if err != nil {
		return err
	}
	l.Names[word], l.ARNs[word] = table.Name, table.Arn
	return nil
}

// item renders the feed as DynamoDB's JSON.
func (f Feed) item() (string, error) {
	type value map[string]any
	prerequisites := []value{}
	for _, p := range f.Prerequisites {
		prerequisites = append(prerequisites, value{"S": p})
	}
	text, err := json.Marshal(map[string]value{
		"feed":           {"S": f.Name},
		"contractKey":    {"S": f.ContractKey},
		"hash":           {"S": f.Hash},
		"completeness":   {"S": f.Completeness},
		"expectedFiles":  {"N": strconv.Itoa(f.ExpectedFiles)},
		"prerequisites":  {"L": prerequisites},
		"windowMinutes":  {"N": strconv.Itoa(f.WindowMinutes)},
		"attempts":       {"N": strconv.Itoa(f.Attempts)},
		"engine":         {"S": f.Engine},
		"timeoutMinutes": {"N": strconv.Itoa(f.TimeoutMinutes)},
		"clientSide":     {"BOOL": f.ClientSide},
	})
	return string(text), err
}
