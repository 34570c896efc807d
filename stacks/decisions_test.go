//go:build access

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/access"
)

// tableText is a stack with every form that a line of an access table has, in three countries of two accounts, two of them polled. The
// feeds' names begin with each other's, and the files of parcels are encrypted by their sender.
const tableText = head + `
  sluice:countries:
    - {code: us, cidr: 10.16.0.0/16, feeds: [orders, orders_eu, parcels], driver: polling}
    - {code: pr, cidr: 10.17.0.0/16, feeds: [orders, parcels]}
    - {code: es, cidr: 10.18.0.0/16, feeds: [orders, orders_eu], driver: polling, accountRoleArn: "arn:aws:iam::333344445555:role/deploy"}
  sluice:access:
    trust: {saml: "arn:aws:iam::000011112222:saml-provider/staff"}
    operators: {}
    people:
      - who: feed-reader
        may: [{country: us, stage: landing, feed: orders, verbs: [list, read]}]
      - who: feed-writer
        may: [{country: us, stage: landing, feed: orders, verbs: [write]}]
      - who: feed-keeper
        may: [{country: pr, stage: landing, feed: orders, verbs: [list, read, write, delete]}]
      - who: day-reader
        may: [{country: us, stage: landing, prefix: orders/2013-01-, verbs: [read]}, {country: us, stage: landing, prefix: orders/2013-01-01/, verbs: [list]}]
      - who: one-file
        may: [{country: us, stage: landing, prefix: orders/2013-01-01/a.csv, verbs: [read, delete]}]
      - who: loose-prefix
        may: [{country: us, stage: landing, prefix: orders, verbs: [list, read]}]
      - who: mixed-case
        may: [{country: us, stage: landing, prefix: Orders/, verbs: [list, read, write]}]
      - who: analysts
        may: [{country: all, stage: curated, verbs: [query]}, {country: us, stage: validated, feed: orders, verbs: [query]}, {country: us, stage: invalid, verbs: [list]}]
      - who: feed-analyst
        may: [{country: pr, stage: curated, feed: orders, verbs: [query]}]
      - who: everywhere
        may: [{country: all, stage: landing, feed: orders_eu, verbs: [list, read]}, {country: all, stage: versioned, feed: orders, verbs: [read]}]
      - who: sealed-reader
        may: [{country: us, stage: landing, feed: parcels, verbs: [list, read]}]
      - who: sealed-sender
        may: [{country: all, stage: landing, feed: parcels, verbs: [write]}]
      - who: sealed-day
        may: [{country: us, stage: landing, prefix: parcels/2013-01-01/, verbs: [read]}]
      - who: whole-landing
        may: [{country: us, stage: landing, verbs: [list, read, write, delete]}]
      - who: whole-lake
        may:
          - {country: es, stage: landing, verbs: [list, read]}
          - {country: es, stage: validated, verbs: [list, read]}
          - {country: es, stage: invalid, verbs: [list, read]}
          - {country: es, stage: versioned, verbs: [query]}
          - {country: es, stage: curated, verbs: [query]}
`

// wideText is a stack of many countries, in which roles of all countries fill several policies. Every third country has fewer feeds.
func wideText() string {
	var list strings.Builder
	for i := range 24 {
		feeds := "orders, orders_eu, parcels"
		if i%3 == 2 {
			feeds = "orders"
		}
		fmt.Fprintf(&list, "    - {code: %c%c, cidr: 10.%d.0.0/16, feeds: [%s], driver: %s}\n", 'a'+i/5, 'a'+i%5, i, feeds, []string{"push", "polling"}[i%2])
	}
	return head + "  sluice:countries:\n" + list.String() + `
  sluice:access:
    trust: {saml: "arn:aws:iam::000011112222:saml-provider/staff"}
    operators: {}
    people:
      - who: analysts
        may: [{country: all, stage: curated, verbs: [query]}, {country: aa, stage: validated, feed: orders, verbs: [query]}]
      - who: feed-analysts
        may: [{country: all, stage: curated, feed: orders, verbs: [query]}, {country: all, stage: curated, feed: orders_eu, verbs: [query]}, {country: all, stage: landing, feed: parcels, verbs: [list, read]}]
      - who: feeders
        may: [{country: all, stage: landing, feed: orders, verbs: [write]}, {country: all, stage: landing, feed: parcels, verbs: [write, delete]}, {country: ab, stage: landing, verbs: [list]}]
      - who: elsewhere
        may: [{country: eb, stage: landing, prefix: orders/2013-01-, verbs: [list, read]}]
`
}

// rendered is what the program declares of access: each role's own policies, and those of buckets and keys.
type rendered struct {
	Identity map[string][]namedPolicy   `json:"identity"` // by the role's ARN
	Resource map[string]json.RawMessage `json:"resource"` // by the bucket's or key's ARN

	keys    map[string]string // keys are the ARNs of the countries' data keys.
	state   map[string]string // state are the ARNs of the countries' keys of state.
	trails  map[string]trail  // trails are by their accounts.
	buckets map[string]string // buckets are names by country and stage.
	config  *Config
}

// trail is the ARNs of an account's trail, and of the bucket and key of its records.
type trail struct{ arn, bucket, key string }

type namedPolicy struct {
	Name   string          `json:"name"`
	Policy json.RawMessage `json:"policy"`
}

// question is one decision: may a role do an action to a resource.
type question struct {
	Who            string            `json:"who"` // Who is the role's ARN.
	Action         string            `json:"action"`
	Resource       string            `json:"resource"`
	Account        string            `json:"account"`
	ResourcePolicy string            `json:"resourcePolicy"`
	Context        map[string]string `json:"context,omitempty"`
	Allowed        bool              `json:"allowed"`
	By             string            `json:"by,omitempty"` // By is the statement that the table names.
}

// render runs the program and collects its policies, with names and ARNs of the form that AWS gives.
func render(t *testing.T, text string) *rendered {
	t.Helper()
	root := contractsOf(t, map[string]string{
		"orders.yaml": contractText("orders", marker), "orders_eu.yaml": contractText("orders_eu", marker),
		"parcels.yaml": contractText("parcels", marker+", {property: sluice.clientSide, value: true}")})
	config, err := ReadConfig("test", values(t, text), root)
	if err != nil {
		t.Fatal(err)
	}
	home := map[string]*Country{}
	for i := range config.Countries {
		home[config.Countries[i].Code] = &config.Countries[i]
	}
	r := &recorder{zones: 3, arn: func(kind, name string, inputs resource.PropertyMap) string {
		code, _, _ := strings.Cut(name, "-")
		country, here := home[code]
		if !here { // what no country owns, for example trail-000011112222
			country = &config.Countries[0]
		}
		physical := name + "-1234567"
		for _, field := range []resource.PropertyKey{"bucket", "name"} {
			if given, ok := inputs[field]; ok && given.IsString() {
				physical = given.StringValue()
			}
		}
		switch kind {
		case "aws:s3/bucketV2:BucketV2":
			return "arn:aws:s3:::" + physical
		case "aws:kms/key:Key":
			return "arn:aws:kms:" + country.Region + ":" + country.Account + ":key/12345678-1234-1234-1234-" + fmt.Sprintf("%012x", name)[:12]
		case "aws:dynamodb/table:Table":
			return "arn:aws:dynamodb:" + country.Region + ":" + country.Account + ":table/" + physical
		case "aws:sqs/queue:Queue":
			return "arn:aws:sqs:" + country.Region + ":" + country.Account + ":" + physical
		case "aws:iam/role:Role", "aws:iam/policy:Policy":
			account := country.Account
			if !here { // people-<account>-<who>, permissions-<account>-<who>-<number>
				account = strings.Split(name, "-")[1]
			}
			return "arn:aws:iam::" + account + ":" + strings.ToLower(kind[strings.LastIndex(kind, ":")+1:]) + "/" + physical
		}
		return ""
	}}
	registered, err := deployed(t, "test", text, root, r)
	if err != nil {
		t.Fatal(err)
	}
	out := &rendered{Identity: map[string][]namedPolicy{}, Resource: map[string]json.RawMessage{}, keys: map[string]string{}, state: map[string]string{}, trails: map[string]trail{}, buckets: map[string]string{}, config: config}
	account := regexp.MustCompile(`::aws-([0-9]{12})-`)
	managed := map[string]namedPolicy{}
	for _, id := range slices.Sorted(maps.Keys(registered)) { // policies come before their attachments
		kind, name, _ := strings.Cut(id, " ")
		text := registered[id]
		var inputs struct{ Bucket, Role, Name, Policy, PolicyArn string }
		_ = json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &inputs) // other types have other fields
		switch kind {
		case "aws:iam/rolePolicy:RolePolicy":
			if strings.HasPrefix(inputs.Role, "sluice-test-access-") || inputs.Role == access.OperatorRoleName("test") {
				arn := "arn:aws:iam::" + account.FindStringSubmatch(text)[1] + ":role/" + inputs.Role
				out.Identity[arn] = append(out.Identity[arn], namedPolicy{inputs.Name, json.RawMessage(inputs.Policy)})
			}
		case "aws:iam/policy:Policy":
			if size := len(inputs.Policy); size > 6144 {
				t.Errorf("%s has %d characters, more than IAM takes", inputs.Name, size)
			}
			managed[r.arn(kind, name, resource.PropertyMap{"name": resource.NewStringProperty(inputs.Name)})] = namedPolicy{inputs.Name, json.RawMessage(inputs.Policy)}
		case "aws:iam/rolePolicyAttachment:RolePolicyAttachment":
			if attached, ok := managed[inputs.PolicyArn]; ok {
				arn := "arn:aws:iam::" + account.FindStringSubmatch(text)[1] + ":role/" + inputs.Role
				out.Identity[arn] = append(out.Identity[arn], attached)
			}
		case "aws:s3/bucketPolicy:BucketPolicy":
			out.Resource["arn:aws:s3:::"+inputs.Bucket] = json.RawMessage(inputs.Policy)
		case "aws:s3/bucketV2:BucketV2":
			out.buckets[name] = inputs.Bucket // us-landing
			if account, ok := strings.CutPrefix(name, "shared-"); ok {
				t := out.trails[account]
				t.bucket = "arn:aws:s3:::" + inputs.Bucket
				out.trails[account] = t
			}
		case "aws:cloudtrail/trail:Trail":
			account := strings.TrimPrefix(name, "shared-")
			t := out.trails[account]
			t.arn = "arn:aws:cloudtrail:" + config.AWS.Region + ":" + account + ":trail/" + inputs.Name
			out.trails[account] = t
		case "aws:kms/key:Key":
			arn := r.arn(kind, name, nil)
			out.Resource[arn] = json.RawMessage(inputs.Policy)
			if account, ok := strings.CutPrefix(name, "shared-"); ok {
				t := out.trails[account]
				t.key = arn
				out.trails[account] = t
			}
			switch name[2:] {
			case "-data":
				out.keys[name[:2]] = arn
			case "-state":
				out.state[name[:2]] = arn
			}
		}
	}
	return out
}

// keysAround are keys that a prefix covers, and the neighbours that it must not.
func keysAround(prefix string) []string {
	stem := strings.TrimSuffix(prefix, "/")
	keys := []string{
		prefix + "2013-01-01/a.csv", prefix + "2013-01-02/b.csv", prefix + "2013-02-01/a.csv", prefix + "a.csv", prefix + "1/a.csv", prefix,
		stem, stem + "2/2013-01-01/a.csv", stem + "_eu/2013-01-01/a.csv", stem + "/x", stem + "//2013-01-01/a.csv", stem + " /a.csv", stem + ".csv",
		strings.ToUpper(prefix) + "a.csv", strings.ToLower(prefix) + "a.csv", "x" + prefix + "a.csv", "/" + prefix + "a.csv", "./" + prefix + "a.csv", "../" + prefix + "a.csv",
		prefix + "../a.csv", prefix + "../parcels/2013-01-01/a.csv", "parcels/../" + prefix + "a.csv", prefix + "..", prefix + "%2e%2e/a.csv",
		strings.ReplaceAll(prefix, "/", "%2F") + "a.csv", strings.ReplaceAll(prefix, "/", "%2f") + "2013-01-01%2Fa.csv", strings.ReplaceAll(prefix, "/", `\`) + "a.csv",
		strings.ReplaceAll(prefix, "o", "%6f") + "a.csv", strings.ReplaceAll(prefix, "o", "о") + "a.csv", // the last has a Cyrillic o
		prefix + "${aws:username}/a.csv", prefix + "é.csv", "copy of " + prefix + "a.csv",
	}
	if len(stem) > 1 {
		keys = append(keys, stem[:len(stem)-1], stem[:len(stem)-1]+"/a.csv", stem[:len(stem)-1]+"x/a.csv")
	}
	return keys
}

// keysOf are the keys around the prefixes of rules, each once.
func keysOf(rules []access.Rule) []string {
	seen := map[string]bool{"": true}
	var keys []string
	for _, rule := range rules {
		prefix := rule.Prefix
		if prefix == "" {
			prefix = "orders/"
		}
		for _, key := range keysAround(prefix) {
			if !seen[key] {
				seen[key] = true
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// askTrails asks how CloudTrail may write to each trail's bucket; and that nobody else may.
func (r *rendered) askTrails(each func(question)) {
	const method, key = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
	for account, trail := range r.trails {
		records, digests := trail.bucket+"/AWSLogs/"+account+"/CloudTrail/a.json.gz", trail.bucket+"/AWSLogs/"+account+"/CloudTrail-Digest/a.json.gz"
		for _, c := range []struct {
			resource string
			context  map[string]string
			allowed  bool
		}{
			{records, map[string]string{method: "aws:kms", key: trail.key}, true},
			{digests, map[string]string{method: "AES256"}, true},
			{records, map[string]string{}, true},
			{records, map[string]string{method: "aws:kms"}, false}, // the AWS-managed key
			{records, map[string]string{method: "aws:kms:dsse"}, false},
			{records, map[string]string{method: "aws:kms", key: "arn:aws:kms:eu-west-1:999999999999:key/theirs"}, false},
			{records, map[string]string{"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}, false},
			{trail.bucket + "/AWSLogs/999999999999/CloudTrail/a.json.gz", map[string]string{method: "aws:kms", key: trail.key}, false},
		} {
			for _, who := range []string{"cloudtrail.amazonaws.com", "arn:aws:iam::" + account + ":role/" + access.OperatorRoleName("test")} {
				service := !strings.HasPrefix(who, "arn:")
				context := map[string]string{"aws:SourceArn": trail.arn, "s3:x-amz-acl": "bucket-owner-full-control", "aws:PrincipalIsAWSService": strconv.FormatBool(service)}
				maps.Copy(context, c.context)
				each(question{Who: who, Action: "s3:PutObject", Resource: c.resource, Account: account, ResourcePolicy: trail.bucket, Context: context, Allowed: c.allowed && service})
			}
		}
	}
}

// sample is every n-th of a list.
func sample(list []string, n int) []string {
	var some []string
	for i := 0; i < len(list); i += n {
		some = append(some, list[i])
	}
	return some
}

// ask makes every question, each with the answer that the table gives; it never looks at a policy.
func (r *rendered) ask(each func(question)) {
	var everybodys []access.Rule
	for _, p := range r.config.Access.People {
		for i := range r.config.Countries {
			everybodys = append(everybodys, p.Rules(r.config.Countries[i].access())...)
		}
	}
	r.askTrails(each)
	all := keysOf(everybodys)
	for _, p := range append(r.config.Access.People, access.Person{Who: access.OperatorName}) {
		for i := range r.config.Countries {
			country := &r.config.Countries[i]
			for _, account := range r.config.accounts() {
				who := "arn:aws:iam::" + account + ":role/" + access.RoleName("test", p.Who)
				if p.Who == access.OperatorName {
					who = "arn:aws:iam::" + account + ":role/" + access.OperatorRoleName("test")
				}
				if _, exists := r.Identity[who]; !exists {
					continue
				}
				var rules []access.Rule // A role of another account may nothing here.
				if account == country.Account {
					rules = p.Rules(country.access())
				}
				// Where somebody may do something, all keys around it; elsewhere some of those that mean something to others.
				keys := sample(all, 15)
				if len(rules) > 0 {
					keys = append(keysOf(rules), keys...)
				}
				r.askFiles(each, who, p.Who, country, rules, keys)
				r.askKey(each, who, country, rules, keys)
				r.askTables(each, who, p.Who, country, rules)
				r.askState(each, who, country, p.Who == access.OperatorName && account == country.Account)
			}
		}
	}
}

// askFiles asks for each key in each bucket, and in one whose name only begins like the landing bucket's.
func (r *rendered) askFiles(each func(question), who, name string, country *Country, rules []access.Rule, keys []string) {
	verbs := map[string]access.Verb{"s3:GetObject": access.Read, "s3:PutObject": access.Write, "s3:DeleteObject": access.Delete,
		"s3:GetObjectVersion": "", "s3:DeleteObjectVersion": "", "s3:PutObjectAcl": "", "s3:GetObjectAcl": "", "s3:RestoreObject": ""}
	actions := slices.Sorted(maps.Keys(verbs))
	words := append(slices.Clone(access.Stages), "artifacts", "logs", "landing2")
	for _, word := range words {
		bucket := r.buckets[country.Code+"-"+word]
		if word == "landing2" {
			bucket = r.buckets[country.Code+"-landing"] + "2"
		}
		arn := "arn:aws:s3:::" + bucket
		for n, key := range keys {
			sid, allowed := access.Decide(rules, word, key, access.List)
			each(question{Who: who, Action: "s3:ListBucket", Resource: arn, Account: country.Account, ResourcePolicy: arn, Context: map[string]string{"s3:prefix": key}, Allowed: allowed, By: sid})
			for _, action := range actions {
				if verbs[action] == "" && n%7 != 0 { // nobody has these: a sample is enough
					continue
				}
				sid, allowed := access.Decide(rules, word, key, verbs[action])
				each(question{Who: who, Action: action, Resource: arn + "/" + key, Account: country.Account, ResourcePolicy: arn, Allowed: allowed, By: sid})
			}
		}
		whole := slices.ContainsFunc(rules, func(rule access.Rule) bool {
			return rule.Stage == word && rule.Prefix == "" && slices.Contains(rule.Verbs, access.List)
		})
		each(question{Who: who, Action: "s3:ListBucket", Resource: arn, Account: country.Account, ResourcePolicy: arn, Allowed: whole})
		for _, action := range []string{"s3:ListBucketVersions", "s3:PutBucketPolicy", "s3:DeleteBucket", "s3:GetBucketPolicy"} {
			each(question{Who: who, Action: action, Resource: arn, Account: country.Account, ResourcePolicy: arn})
		}
	}
	// Results of queries are for who asked; and for nobody are other folders of artifacts.
	artifacts := "arn:aws:s3:::" + r.buckets[country.Code+"-artifacts"]
	for _, p := range r.config.Access.People {
		for _, key := range []string{"queries/people/" + p.Who + "/1.csv", "queries/people/" + p.Who + "x/1.csv", "queries/people/" + p.Who, "queries/1.csv", "jobs/main.py"} {
			own := access.MayQuery(rules) && strings.HasPrefix(key, "queries/people/"+name+"/")
			for _, action := range []string{"s3:GetObject", "s3:PutObject"} {
				each(question{Who: who, Action: action, Resource: artifacts + "/" + key, Account: country.Account, ResourcePolicy: artifacts, Allowed: own})
			}
		}
	}
	// With another encryption than the country's, nobody writes.
	landing := "arn:aws:s3:::" + r.buckets[country.Code+"-landing"]
	for _, key := range []string{"orders/2013-01-01/a.csv", "parcels/2013-01-01/a.csv"} {
		_, may := access.Decide(rules, access.Landing, key, access.Write)
		for _, c := range []struct {
			context map[string]string
			fits    bool
		}{
			{map[string]string{}, true}, // the bucket's default
			{map[string]string{"s3:x-amz-server-side-encryption": "AES256"}, false},
			{map[string]string{"s3:x-amz-server-side-encryption": "aws:kms"}, false}, // the AWS-managed key
			{map[string]string{"s3:x-amz-server-side-encryption": "aws:kms:dsse"}, false},
			{map[string]string{"s3:x-amz-server-side-encryption": "aws:kms:dsse", "s3:x-amz-server-side-encryption-aws-kms-key-id": r.keys[country.Code]}, false},
			{map[string]string{"s3:x-amz-server-side-encryption": "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id": "alias/aws/s3"}, false},
			{map[string]string{"s3:x-amz-server-side-encryption": "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-west-1:999999999999:key/theirs"}, false},
			{map[string]string{"s3:x-amz-server-side-encryption": "aws:kms", "s3:x-amz-server-side-encryption-aws-kms-key-id": r.keys[country.Code]}, true},
			{map[string]string{"s3:x-amz-server-side-encryption-customer-algorithm": "AES256"}, false},
			{map[string]string{"aws:SecureTransport": "false"}, false},
		} {
			each(question{Who: who, Action: "s3:PutObject", Resource: landing + "/" + key, Account: country.Account, ResourcePolicy: landing, Context: c.context, Allowed: may && c.fits})
		}
	}
}

// askKey asks who may use the country's key: through S3 for a bucket or an object, through other services, and directly for what its
// sender encrypted.
func (r *rendered) askKey(each func(question), who string, country *Country, rules []access.Rule, keys []string) {
	key := r.keys[country.Code]
	use := func(action string, allowed bool, context map[string]string) {
		each(question{Who: who, Action: action, Resource: key, Account: country.Account, ResourcePolicy: key, Context: context, Allowed: allowed})
	}
	s3 := "s3." + country.Region + ".amazonaws.com"
	for _, stage := range access.Stages {
		bucket := "arn:aws:s3:::" + r.buckets[country.Code+"-"+stage]
		var reads, writes bool
		for _, rule := range rules {
			reads = reads || rule.Stage == stage && slices.Contains(rule.Verbs, access.Read)
			writes = writes || rule.Stage == stage && slices.Contains(rule.Verbs, access.Write)
		}
		for action, allowed := range map[string]bool{"kms:Decrypt": reads || writes, "kms:GenerateDataKey": writes} {
			use(action, allowed, map[string]string{"kms:ViaService": s3, "kms:EncryptionContext:aws:s3:arn": bucket})
			use(action, false, map[string]string{"kms:ViaService": s3, "kms:EncryptionContext:aws:s3:arn": bucket + "2"})
			use(action, false, map[string]string{"kms:ViaService": s3})
			use(action, false, map[string]string{"kms:EncryptionContext:aws:s3:arn": bucket})
			use(action, false, map[string]string{"kms:ViaService": "dynamodb." + country.Region + ".amazonaws.com", "kms:EncryptionContext:aws:s3:arn": bucket})
			use(action, false, map[string]string{"kms:ViaService": "s3.ap-south-1.amazonaws.com", "kms:EncryptionContext:aws:s3:arn": bucket})
		}
		for n, name := range keys {
			if n%3 > 0 && stage != access.Landing {
				continue
			}
			_, read := access.Decide(rules, stage, name, access.Read)
			_, write := access.Decide(rules, stage, name, access.Write)
			use("kms:Decrypt", read || write, map[string]string{"kms:ViaService": s3, "kms:EncryptionContext:aws:s3:arn": bucket + "/" + name})
		}
	}
	for _, name := range keys {
		var opens, seals bool
		for _, rule := range rules {
			covers := rule.Sealed && strings.HasPrefix(name, rule.Prefix)
			opens = opens || covers && slices.Contains(rule.Verbs, access.Read)
			seals = seals || covers && slices.Contains(rule.Verbs, access.Write)
		}
		use("kms:Decrypt", opens, map[string]string{"kms:EncryptionContext:sluice:object": name})
		use("kms:GenerateDataKey", seals, map[string]string{"kms:EncryptionContext:sluice:object": name})
	}
	// The key of one country is of no use for what another's buckets hold.
	for code := range r.keys {
		if code == country.Code {
			continue
		}
		for _, stage := range access.Stages {
			for _, name := range []string{"", "/orders/2013-01-01/a.csv"} {
				use("kms:Decrypt", false, map[string]string{"kms:ViaService": s3, "kms:EncryptionContext:aws:s3:arn": "arn:aws:s3:::" + r.buckets[code+"-"+stage] + name})
			}
		}
	}
	for _, action := range []string{"kms:Decrypt", "kms:GenerateDataKey", "kms:Encrypt", "kms:CreateGrant", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DescribeKey"} {
		use(action, false, nil)
	}
}

// askTables asks who may find which table, and ask questions in which workgroup.
func (r *rendered) askTables(each func(question), who, name string, country *Country, rules []access.Rule) {
	catalog := "arn:aws:glue:" + country.Region + ":" + country.Account
	ask := func(action, resource string, allowed bool, by string) {
		each(question{Who: who, Action: action, Resource: resource, Account: country.Account, Allowed: allowed, By: by})
	}
	for _, stage := range access.Stages {
		database := infra.DatabaseName("sluice_test_"+country.Code, stage)
		any := false
		for _, feed := range []string{"orders", "orders_eu", "parcels", "orders2", "Orders"} {
			sid, allowed := access.DecideQuery(rules, stage, feed)
			any = any || allowed
			ask("glue:GetTable", catalog+":table/"+database+"/"+feed, allowed, sid)
			ask("glue:GetTable", catalog+":table/"+database+"2/"+feed, false, "")
			ask("glue:GetPartitions", catalog+":table/"+database+"/"+feed, allowed, sid)
			for _, action := range []string{"glue:UpdateTable", "glue:DeleteTable", "glue:CreateTable"} {
				ask(action, catalog+":table/"+database+"/"+feed, false, "")
			}
		}
		ask("glue:GetDatabase", catalog+":database/"+database, any, "")
		ask("glue:DeleteDatabase", catalog+":database/"+database, false, "")
	}
	// The catalog and its default database are the account's: who queries in one of its countries there finds them for all.
	queries := slices.ContainsFunc(r.config.Access.People, func(p access.Person) bool {
		return p.Who == name && slices.ContainsFunc(r.config.Countries, func(c Country) bool {
			return c.Account == country.Account && c.Region == country.Region && strings.Contains(who, "::"+c.Account+":") && access.MayQuery(p.Rules(c.access()))
		})
	})
	ask("glue:GetDatabase", catalog+":catalog", queries, "")
	ask("glue:GetDatabase", catalog+":database/default", queries, "")
	ask("glue:GetTable", catalog+":table/default/orders", false, "")
	for _, p := range r.config.Access.People {
		workgroup := "arn:aws:athena:" + country.Region + ":" + country.Account + ":workgroup/" + access.WorkgroupName("sluice_test_"+country.Code, p.Who)
		for _, action := range []string{"athena:StartQueryExecution", "athena:GetQueryResults", "athena:GetQueryExecution"} {
			ask(action, workgroup, access.MayQuery(rules) && p.Who == name, "")
		}
		ask("athena:UpdateWorkGroup", workgroup, false, "")
	}
	ask("athena:StartQueryExecution", "arn:aws:athena:"+country.Region+":"+country.Account+":workgroup/sluice_test_"+country.Code, false, "")
}

// askState asks who sees the ledger, queues, logs and metrics: operators, and nobody else; and nobody changes them.
func (r *rendered) askState(each func(question), who string, country *Country, operator bool) {
	here := country.Region + ":" + country.Account + ":"
	ask := func(action, resource string, allowed bool, context map[string]string) {
		each(question{Who: who, Action: action, Resource: resource, Account: country.Account, Context: context, Allowed: allowed})
	}
	for _, table := range []string{"feeds", "jobs", "runs", "files", "progress"} {
		arn := "arn:aws:dynamodb:" + here + "table/" + country.Code + "-" + table + "-1234567"
		for _, action := range []string{"dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:BatchGetItem"} {
			ask(action, arn, operator, nil)
		}
		for _, action := range []string{"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:DeleteTable"} {
			ask(action, arn, false, nil)
		}
	}
	// Everybody of the table finds the countries of the stack in every region of the account, and operators the table; nobody reads or writes
	// other parameters, the compute switch among them.
	for _, region := range []string{country.Region, "sa-east-1"} {
		parameter := "arn:aws:ssm:" + region + ":" + country.Account + ":parameter/sluice/"
		own := strings.Contains(who, "::"+country.Account+":")
		ask("ssm:GetParametersByPath", parameter+"test/countries", own, nil)
		ask("ssm:GetParametersByPath", parameter+"test/access", operator, nil)
		for _, path := range []string{"test", "other/countries", "other/access", "test/countries2", "test/compute/" + country.Code} {
			ask("ssm:GetParametersByPath", parameter+path, false, nil)
		}
		for _, action := range []string{"ssm:GetParameter", "ssm:PutParameter", "ssm:DeleteParameter", "ssm:GetParameterHistory"} {
			ask(action, parameter+"test/countries/"+country.Code, false, nil)
		}
	}
	group := "arn:aws:logs:" + here + "log-group:/aws/lambda/sluice-"
	ask("logs:FilterLogEvents", group+"test-"+country.Code+"-start-jobs", operator, nil)
	ask("logs:FilterLogEvents", group+"other-"+country.Code+"-start-jobs", false, nil)
	ask("logs:DeleteLogGroup", group+"test-"+country.Code+"-start-jobs", false, nil)
	cluster := "arn:aws:elasticmapreduce:" + here + "cluster/j-1"
	ask("elasticmapreduce:DescribeCluster", cluster, operator, map[string]string{"aws:ResourceTag/Stack": "test"})
	ask("elasticmapreduce:DescribeCluster", cluster, false, map[string]string{"aws:ResourceTag/Stack": "other"})
	ask("elasticmapreduce:TerminateJobFlows", cluster, false, map[string]string{"aws:ResourceTag/Stack": "test"})
	r.askPolling(each, who, country, operator)
	logs := "arn:aws:s3:::" + r.buckets[country.Code+"-logs"]
	each(question{Who: who, Action: "s3:GetObject", Resource: logs + "/emr/j-1/steps/s-1/stderr.gz", Account: country.Account, ResourcePolicy: logs, Allowed: operator})
}

// askPolling asks who sees the executions of the polling driver's state machine: operators, where a country is polled; and nobody starts
// or changes one. Its history is under the key of state, which opens it through Step Functions, for this machine, and nothing else.
func (r *rendered) askPolling(each func(question), who string, country *Country, operator bool) {
	here := country.Region + ":" + country.Account + ":"
	ask := func(action, resource string, allowed bool) {
		each(question{Who: who, Action: action, Resource: resource, Account: country.Account, Allowed: allowed})
	}
	sees := operator && country.Driver == pollingDriver
	machine := func(name string) string { return "arn:aws:states:" + here + "stateMachine:" + name }
	execution := func(name string) string { return "arn:aws:states:" + here + "execution:" + name + ":0123abcd" }
	own := "sluice-test-" + country.Code + "-polling"
	for _, name := range []string{own, own + "2", "sluice-other-" + country.Code + "-polling", "sluice-test-" + country.Code + "-records", "sluice-test-zz-polling"} {
		for _, action := range []string{"states:DescribeStateMachine", "states:ListExecutions"} {
			ask(action, machine(name), sees && name == own)
		}
		for _, action := range []string{"states:DescribeExecution", "states:DescribeStateMachineForExecution", "states:GetExecutionHistory"} {
			ask(action, execution(name), sees && name == own)
		}
	}
	for _, action := range []string{"states:StartExecution", "states:UpdateStateMachine", "states:DeleteStateMachine"} {
		ask(action, machine(own), false)
	}
	for _, action := range []string{"states:StopExecution", "states:RedriveExecution"} {
		ask(action, execution(own), false)
	}
	ask("logs:FilterLogEvents", "arn:aws:logs:"+here+"log-group:/aws/vendedlogs/states/"+own, operator)
	ask("logs:FilterLogEvents", "arn:aws:logs:"+here+"log-group:/aws/vendedlogs/states/sluice-other-"+country.Code+"-polling", false)
	through := "states." + country.Region + ".amazonaws.com"
	for _, c := range []struct {
		action, key string
		context     map[string]string
		allowed     bool
	}{
		{"kms:Decrypt", r.state[country.Code], map[string]string{"kms:ViaService": through, "kms:EncryptionContext:aws:states:stateMachineArn": machine(own)}, sees},
		{"kms:Decrypt", r.state[country.Code], map[string]string{"kms:ViaService": through, "kms:EncryptionContext:aws:states:stateMachineArn": machine(own + "2")}, false},
		{"kms:Decrypt", r.state[country.Code], map[string]string{"kms:ViaService": through}, false},
		{"kms:Decrypt", r.state[country.Code], map[string]string{"kms:EncryptionContext:aws:states:stateMachineArn": machine(own)}, false},
		{"kms:GenerateDataKey", r.state[country.Code], map[string]string{"kms:ViaService": through, "kms:EncryptionContext:aws:states:stateMachineArn": machine(own)}, false},
		{"kms:Decrypt", r.keys[country.Code], map[string]string{"kms:ViaService": through, "kms:EncryptionContext:aws:states:stateMachineArn": machine(own)}, false},
		{"kms:Decrypt", r.state[country.Code], map[string]string{"kms:ViaService": "dynamodb." + country.Region + ".amazonaws.com"}, operator},
		{"kms:Decrypt", r.state[country.Code], map[string]string{"kms:ViaService": "sqs." + country.Region + ".amazonaws.com"}, false},
	} {
		each(question{Who: who, Action: c.action, Resource: c.key, Account: country.Account, ResourcePolicy: c.key, Context: c.context, Allowed: c.allowed})
	}
}

// decide sends the questions that are asked to the evaluator, and returns what it printed, and of how many decisions how many differ
// from what is expected.
func decide(t *testing.T, r *rendered, asked func(question) bool) (out string, decided, differing int) {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join("..", "test", "access"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "decide.mjs")
	cmd.Dir = folder
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	cmd.Stdout, cmd.Stderr = &printed, &printed
	if err := cmd.Start(); err != nil {
		t.Fatalf("node: %v; install Node.js 20 or later, then run make test-access", err)
	}
	buffered := bufio.NewWriter(in)
	lines := json.NewEncoder(buffered)
	err = lines.Encode(r)
	r.ask(func(q question) {
		if err == nil && asked(q) {
			err = lines.Encode(q)
		}
	})
	if err == nil {
		err = buffered.Flush()
	}
	if closed := in.Close(); err == nil {
		err = closed
	}
	ended := cmd.Wait()
	out = printed.String()
	var allowed int
	last := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
	if _, scanned := fmt.Sscanf(last, "%d decisions, %d allowed, %d differ", &decided, &allowed, &differing); scanned != nil || err != nil {
		t.Fatalf("the evaluator did not get to the end: %v, %v\n%s", err, ended, out)
	}
	if (ended == nil) != (differing == 0) {
		t.Errorf("%d differ, and the evaluator ended with %v", differing, ended)
	}
	return out, decided, differing
}

func TestPoliciesDecideAsTheTableSays(t *testing.T) {
	out, decided, differing := decide(t, render(t, tableText), func(question) bool { return true })
	t.Log(out)
	if differing > 0 || decided < 100_000 {
		t.Errorf("%d of %d decisions differ; want 100000 decisions at least, and none that differs", differing, decided)
	}
}

// TestPoliciesDecideAsTheTableSaysWhereTheyHoldManyCountries asks all that is allowed and a sample of what is not.
func TestPoliciesDecideAsTheTableSaysWhereTheyHoldManyCountries(t *testing.T) {
	r := render(t, wideText())
	for _, who := range []string{"access-analysts", "access-feed-analysts", "access-feeders", "operator"} {
		policies := r.Identity["arn:aws:iam::000011112222:role/sluice-test-"+who]
		if len(policies) < 7 { // 24 countries in fewer would be a table that needs no sharing
			t.Errorf("%s has %d policies", who, len(policies))
		}
	}
	n := 0
	out, decided, differing := decide(t, r, func(q question) bool {
		n++
		return q.Allowed || n%11 == 0
	})
	t.Log(out)
	if differing > 0 || decided < 20_000 {
		t.Errorf("%d of %d decisions differ; want 20000 decisions at least, and none that differs", differing, decided)
	}
}

// operatorDenied are the actions that a data key denies to operators.
var operatorDenied = []string{"kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"}

// TestBrokenControlAtAnOperatorOpensNoRecord gives the operators' role every right on keys: the data keys' own policies refuse it.
func TestBrokenControlAtAnOperatorOpensNoRecord(t *testing.T) {
	const everything = `{"Version":"2012-10-17","Statement":[{"Sid":"Everything","Effect":"Allow","Action":"kms:*","Resource":"*"}]}`
	for _, denied := range []bool{true, false} {
		r := render(t, tableText)
		for arn := range r.Identity {
			if strings.HasSuffix(arn, "-operator") {
				r.Identity[arn] = append(r.Identity[arn], namedPolicy{"everything", json.RawMessage(everything)})
			}
		}
		if !denied {
			for arn, policy := range r.Resource {
				r.Resource[arn] = json.RawMessage(strings.ReplaceAll(string(policy), "-operator", "-nobody"))
			}
		}
		dataKeys := slices.Collect(maps.Values(r.keys))
		out, decided, differing := decide(t, r, func(q question) bool {
			return strings.HasSuffix(q.Who, "-operator") && slices.Contains(dataKeys, q.ResourcePolicy) && slices.Contains(operatorDenied, q.Action)
		})
		if decided == 0 || (differing == 0) != denied {
			t.Errorf("denied by the keys %v: %d of %d decisions differ\n%s", denied, differing, decided, out)
		}
	}
}

func TestBrokenControlIsFound(t *testing.T) {
	for _, c := range []struct{ name, who, from, to string }{
		{"a widened prefix", "feed-reader", `/orders/*"`, `/orders*"`},
		{"a prefix without its end", "day-reader", `orders/2013-01-*`, `orders/2013-*`},
		{"another verb", "feed-reader", `"s3:GetObject"`, `["s3:GetObject","s3:PutObject"]`},
		{"a list without condition", "feed-reader", `,"Condition":{"StringLike":{"s3:prefix":"orders/*"}}`, ``},
		{"a key for every service", "feed-reader", `"StringEquals":{"kms:ViaService":"s3.eu-west-1.amazonaws.com"},`, ``},
		{"a key for every sealed object", "sealed-day", `"parcels/2013-01-01/*"}}`, `"*"}}`},
		{"a table of another feed", "feed-analyst", `_curated/orders"`, `_curated/*"`},
		{"an operator who reads data", "operator", `/emr/*"`, `/emr/*","arn:aws:s3:::sluice-test-us-landing-` + suffixOf("us") + `/*"`},
		{"an operator who stops the driver", "operator", `"states:GetExecutionHistory"`, `"states:GetExecutionHistory","states:StopExecution"`},
		{"an operator's key for any execution", "operator", `"kms:EncryptionContext:aws:states:stateMachineArn":"arn:aws:states:eu-west-1:000011112222:stateMachine:sluice-test-us-polling",`, ``},
		{"a person whom Athena refuses", "feed-analyst", `:database/default"`, `:database/other"`},
		{"a person who sees the access table", "one-file", `parameter/sluice/test/countries"`, `parameter/sluice/test/*"`},
		{"a lost permission", "one-file", `"s3:DeleteObject"`, `"s3:DeleteObjectVersion"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := render(t, tableText)
			broken := 0
			for arn, list := range r.Identity {
				for i, policy := range list {
					if !strings.HasSuffix(arn, "-"+c.who) || !strings.Contains(string(policy.Policy), c.from) {
						continue
					}
					list[i].Policy = json.RawMessage(strings.Replace(string(policy.Policy), c.from, c.to, 1))
					broken++
				}
			}
			if broken == 0 {
				t.Fatalf("no policy of %s has %s", c.who, c.from)
			}
			_, decided, differing := decide(t, r, func(q question) bool { return strings.HasSuffix(q.Who, "-"+c.who) })
			if differing == 0 {
				t.Errorf("not found by %d decisions", decided)
			}
		})
	}
	// In these a denial of the bucket's own policy never holds, because it waits for what no request says.
	for _, c := range []struct{ name, bucket, key, is string }{
		{"a bucket that takes other encryption", "us-landing", "s3:x-amz-server-side-encryption", "false"},
		{"a bucket that takes other keys", "us-landing", "s3:x-amz-server-side-encryption-aws-kms-key-id", "false"},
		{"a bucket that takes the AWS-managed key", "us-landing", "s3:x-amz-server-side-encryption-aws-kms-key-id", "true"},
		{"a bucket that takes keys brought along", "us-landing", "s3:x-amz-server-side-encryption-customer-algorithm", "false"},
		{"a bucket that takes plain text", "us-landing", "aws:SecureTransport", "false"},
		{"a trail that takes the AWS-managed key", "shared-000011112222", "s3:x-amz-server-side-encryption-aws-kms-key-id", "true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := render(t, tableText)
			bucket := "arn:aws:s3:::" + r.buckets[c.bucket]
			broken := strings.ReplaceAll(string(r.Resource[bucket]), `"`+c.key+`":"`+c.is+`"`, `"aws:PrincipalTag/none":"false"`)
			if broken == string(r.Resource[bucket]) {
				t.Fatalf("the policy of %s does not ask for %s", bucket, c.key)
			}
			r.Resource[bucket] = json.RawMessage(broken)
			_, decided, differing := decide(t, r, func(q question) bool {
				return q.ResourcePolicy == bucket && q.Action == "s3:PutObject" && len(q.Context) > 0
			})
			if differing == 0 {
				t.Errorf("not found by %d decisions", decided)
			}
		})
	}
}
