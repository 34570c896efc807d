package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sluice-data/sluice/docs/schemas"
)

// values reads a stack's YAML as Pulumi gives it to the program: structured values as JSON, plain ones as text.
func values(t *testing.T, text string) map[string]string {
	t.Helper()
	var file struct{ Config map[string]any }
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for key, value := range file.Config {
		if plain, ok := value.(string); ok {
			out[key] = plain
			continue
		}
		rendered, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out[key] = string(rendered)
	}
	return out
}

// contractsOf makes a project folder with contracts; texts are by file name.
func contractsOf(t *testing.T, texts map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range texts {
		file := filepath.Join(root, "contracts", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// contractText is a small contract with custom properties, in YAML's flow style.
func contractText(feed, custom string) string {
	return `{apiVersion: v3.1.0, kind: DataContract, name: ` + feed + `, customProperties: [` + custom + `],
  schema: [{name: ` + feed + `, properties: [{name: id, logicalType: integer, primaryKey: true}, {name: price, logicalType: number, physicalType: "decimal(12,2)"}]}]}`
}

const (
	marker = `{property: sluice.completeness, value: marker}`
	head   = `config:
  pulumi:disable-default-providers: [aws, gcp]
  sluice:aws: {region: eu-west-1, accountId: "000011112222", tags: {Owner: data}}
  sluice:google: {project: sluice-test}
  sluice:functions: {architecture: arm64}
  sluice:compute: {releaseLabel: emr-7.13.0, primaryType: m6g.xlarge, coreType: m6g.xlarge}
`
)

func TestStackFilesOfTheProjectAreRight(t *testing.T) {
	schema, err := schemas.Stack()
	if err != nil {
		t.Fatal(err)
	}
	for _, stack := range []string{"local", "dev", "prod"} {
		text, err := os.ReadFile("../Pulumi." + stack + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var file any
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(file); err != nil {
			t.Errorf("%s does not fit the schema that editors use: %v", stack, err)
		}
		if _, err := ReadConfig(stack, values(t, string(text)), ".."); err != nil {
			t.Error(err)
		}
		if lines := strings.Count(string(text), "\n"); lines > 45 {
			t.Errorf("%s has %d lines; a screen shows 45", stack, lines)
		}
	}
}

func TestCountryTakesWhatItDoesNotSayFromItsEnvironment(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker),
		"returns.yaml": contractText("returns", marker+", {property: sluice.attempts, value: 2}")})
	c, err := ReadConfig("test", values(t, head+`
  sluice:parallel: 3
  sluice:attempts: 4
  sluice:driver: polling
  sluice:allowDataDeletion: [uy]
  sluice:countries:
    - {code: us, cidr: 10.16.0.0/16, feeds: [orders]}
    - {code: uy, cidr: 10.17.0.0/16, feeds: [{name: orders, engine: emr}, returns], region: sa-east-1, parallel: 7, attempts: 6, driver: push, timeZone: America/Montevideo,
       accountRoleArn: "arn:aws:iam::333344445555:role/deploy", google: {location: southamerica-east1}}
`), root)
	if err != nil {
		t.Fatal(err)
	}
	us, uy := c.Countries[0], c.Countries[1]
	if us.Account != "000011112222" || us.Region != "eu-west-1" || us.Parallel != 3 || us.Driver != pollingDriver || us.TimeZone != "UTC" || us.Google.Location != "US" || !us.Protected || us.Feeds[0].Engine != "auto" {
		t.Errorf("us: %+v", us)
	}
	if uy.Account != "333344445555" || uy.Region != "sa-east-1" || uy.Parallel != 7 || uy.Driver != pushDriver || uy.Google.Location != "southamerica-east1" || uy.Protected || uy.Feeds[0].Engine != "emr" {
		t.Errorf("uy: %+v", uy)
	}
	if inherited, own := us.ledgerFeeds()[0].Attempts, uy.ledgerFeeds(); inherited != 4 || own[0].Attempts != 6 || own[1].Attempts != 2 {
		t.Errorf("attempts: %d by the environment, %+v by the country, but for the second feed, whose contract says 2", inherited, own)
	}
	if columns := us.Feeds[0].Contract.Columns; columns[1].Type != "NUMERIC" {
		t.Errorf("columns: %+v", columns)
	}
}

func TestEveryFaultIsReportedWithItsPath(t *testing.T) {
	root := contractsOf(t, map[string]string{
		"orders.yaml":   contractText("orders", marker),
		"items.yaml":    contractText("items", marker+`, {property: sluice.prerequisites, value: [prices]}`),
		"prices.yaml":   contractText("prices", marker+`, {property: sluice.prerequisites, value: [items]}`),
		"reserved.yaml": strings.Replace(contractText("reserved", marker), "name: id", "name: Valid_From", 1),
		"odd.yaml":      strings.Replace(contractText("odd", `{property: sluice.completeness, value: sometimes}, {property: sluice.colour, value: 1}`), "logicalType: integer", "logicalType: object", 1),
		"report.yaml":   contractText("report", marker),
		"report.sql":    "select 1",
	})
	_, err := ReadConfig("staging-of-the-north", values(t, `config:
  sluice:aws: {region: Ireland, accountId: "123", tags: {owner: data}}
  sluice:google: {project: sluice-test, zone: b}
  sluice:functions: {architecture: sparc}
  sluice:compute: {releaseLabel: emr-7.13.0, primaryType: m6g.xlarge}
  sluice:speed: 9
  sluice:dataProtection: sometimes
  sluice:allowDataDeletion: [zz, USA]
  sluice:countries:
    - {code: us, cidr: 10.16.0.0/16, feeds: [orders, {name: orders, engine: abacus}]}
    - {code: us, cidr: 10.0.0.0/8, feeds: [nothing], colour: red}
    - {code: uy, cidr: 10.16.128.0/17, feeds: [items, prices], timeZone: America/Atlantis, network: {nat: two, endpoints: [gluee]}}
    - {code: UY, cidr: somewhere, feeds: [reserved, odd, report]}
    - {code: ar, cidr: 10.18.0.0/16, feeds: [items]}
`), root)
	if err == nil {
		t.Fatal("no fault was found")
	}
	want := []string{
		`stack staging-of-the-north cannot be deployed:`,
		`  allowDataDeletion[0]: zz is no country of this stack; a country is named here and deployed so while it is in countries, then it leaves both`,
		`  allowDataDeletion[1]: 'USA' does not match pattern '^([a-z]{2}|trail)$'`,
		`  aws.accountId: '123' does not match pattern '^[0-9]{12}$'`,
		`  aws.region: 'Ireland' does not match pattern '^[a-z]{2}(-[a-z]+)+-[0-9]$'`,
		`  aws.tags: additional properties 'owner' not allowed`,
		`  aws.tags: missing property 'Owner'`,
		`  compute: missing property 'coreType'`,
		`  config: additional properties 'sluice:speed' not allowed`,
		`  contracts/odd.yaml customProperties[0].value: value must be one of 'marker', 'count', 'window'`,
		`  contracts/odd.yaml customProperties[1].property: value must be one of 'sluice.completeness', 'sluice.expectedFiles', 'sluice.windowMinutes', 'sluice.attempts', 'sluice.timeoutMinutes', 'sluice.prerequisites', 'sluice.delimiter', 'sluice.encoding', 'sluice.snapshot', 'sluice.nullValue', 'sluice.curatedColumns', 'sluice.clientSide'`,
		`  contracts/odd.yaml schema[0].properties[0].logicalType: value must be one of 'string', 'integer', 'number', 'boolean', 'date', 'timestamp'`,
		`  contracts/report.yaml sluice.curatedColumns: contracts/report.sql selects the curated rows; say which columns they have`,
		`  contracts/reserved.yaml schema[0].properties[0].name: Valid_From is a column that versions have; choose another name`,
		`  countries[0].feeds[1].engine: value must be one of 'auto', 'emr', 'emr-serverless', 'glue'`,
		`  countries[1]: additional properties 'colour' not allowed`,
		`  countries[1].cidr: 10.0.0.0/8: a network has a prefix of /16 to /24`,
		`  countries[1].code: us is countries[0] already`,
		`  countries[1].feeds[0]: feed "nothing" has no contract; write contracts/nothing.yaml or take one of items, odd, orders, prices, report, reserved`,
		`  countries[2].cidr: 10.16.128.0/17 overlaps countries[0].cidr`,
		`  countries[2].network.endpoints[0]: gluee has no endpoint here; take some of athena, dynamodb, ec2, ecr.api, ecr.dkr, elasticmapreduce, emr-serverless, events, glue, kinesis-streams, kms, lakeformation, lambda, logs, monitoring, secretsmanager, sns, sqs, ssm, states, sts`,
		`  countries[2].network.nat: value must be one of 'none', 'one', 'perZone'`,
		`  countries[2].feeds: feeds wait for each other: items needs prices needs items`,
		`  countries[2].timeZone: "America/Atlantis" is no IANA time zone, for example Europe/Madrid`,
		`  countries[3].cidr: "somewhere" is no block, for example 10.16.0.0/16`,
		`  countries[3].code: 'UY' does not match pattern '^[a-z]{2}$'`,
		`  countries[4].feeds: feed "items": prerequisite "prices" is no feed of this country`,
		`  dataProtection: got string, want boolean`,
		`  functions.architecture: value must be one of 'arm64', 'x86_64'`,
		`  google: additional properties 'zone' not allowed`,
		`  stack: "staging-of-the-north": a stack's name is part of the names of buckets, databases and accounts; take a letter, then letters and digits, 11 at most`,
	}
	got := strings.Split(err.Error(), "\n")
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("missing: %s", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("unexpected: %s", line)
		}
	}
}

func TestReferencesAreToKeysThatHaveTheirDay(t *testing.T) {
	refers := func(to, custom string) string {
		text := contractText("sales", marker+custom)
		return strings.Replace(text, "primaryKey: true", "primaryKey: true, relationships: [{to: "+to+"}]", 1)
	}
	const after = `, {property: sluice.prerequisites, value: [shops]}`
	for _, c := range []struct{ to, custom, want string }{
		{"shops.id", after, ""},
		{"sales.id", "", ""},
		{"shops.id", "", `countries[0].feeds: feed "sales": column "id" refers to shops.id: put shops into sluice.prerequisites, or records are judged by what it had on an earlier day`},
		{"shops.name", after, `countries[0].feeds: feed "sales": column "id" refers to shops.name: the key of shops is id; refer to a key of one column`},
	} {
		root := contractsOf(t, map[string]string{"shops.yaml": contractText("shops", marker), "sales.yaml": refers(c.to, c.custom)})
		_, err := ReadConfig("test", values(t, head+"  sluice:countries: [{code: us, cidr: 10.16.0.0/16, feeds: [shops, sales]}]\n"), root)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s%s: %v", c.to, c.custom, err)
		}
	}
}

func TestContractWithSQLCarriesItToTheJobs(t *testing.T) {
	root := contractsOf(t, map[string]string{
		"report.yaml": contractText("report", marker+`, {property: sluice.curatedColumns, value: [{name: total, logicalType: number}]}`),
		"report.sql":  "select 1 as total",
	})
	c, err := ReadConfig("test", values(t, head+"  sluice:countries: [{code: us, cidr: 10.16.0.0/16, feeds: [report]}]\n"), root)
	if err != nil {
		t.Fatal(err)
	}
	contract := c.Countries[0].Feeds[0].Contract
	if !strings.Contains(contract.JSON, `"sluice.curatedSql":"select 1 as total"`) || len(contract.Columns) != 1 || contract.Columns[0].Name != "total" {
		t.Errorf("%s %+v", contract.JSON, contract.Columns)
	}
}

func TestAccessTableIsCheckedWithTheRest(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	countries := "  sluice:countries:\n    - {code: us, cidr: 10.16.0.0/16, feeds: [orders]}\n"
	trusted := "  sluice:access: {trust: {account: '000011112222'}, people: [{who: ana, may: ["
	principals := ""
	for i := range 40 {
		principals += fmt.Sprintf("'arn:aws:iam::000011112222:role/a-long-name-of-team-%d', ", i)
	}
	many := ""
	for i := range 30 {
		many += fmt.Sprintf("{country: us, stage: landing, prefix: 'orders/%s%d', verbs: [read]}, ", strings.Repeat("x", 200), i)
	}
	for _, c := range []struct{ access, want string }{
		{trusted + "{country: us, stage: landing, prefix: 'orders/../', verbs: [read]}]}]}\n", `access.people[0].may[0].prefix: "orders/../" has a folder ..`},
		{trusted + "{country: mars, stage: landing, verbs: [read]}]}]}\n", `access.people[0].may[0].country: "mars" is no country of this stack`},
		{trusted + "{country: us, stage: landing, verbs: read}]}]}\n", "access.people[0].may[0].verbs: got string, want array"},
		{trusted + "{country: us, stage: landing, verbs: [read], secret: x}]}]}\n", "access.people[0].may[0]: additional properties 'secret' not allowed"},
		{trusted + many + "]}]}\n", "and30 in us would have 7982 characters, and IAM takes 6144 in a policy"},
		{"  sluice:access: {people: [{who: ana, may: [{country: us, stage: landing, verbs: [read]}]}]}\n", "access.people[0].trust: nobody could take the role"},
		{"  sluice:access: {trust: {account: '000011112222', principals: [" + principals + "]}, operators: {}}\n", "access.operators.trust: its role's trust policy would have "},
	} {
		_, err := ReadConfig("test", values(t, head+c.access+countries), root)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want %q, got %v", c.want, err)
		}
	}
}

func TestMoreCountriesThanARoleCanHoldAreRefusedUnlessTheQuotaIsRaised(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	const table = "  sluice:access: {%strust: {account: '000011112222'}, people: [{who: analysts, may: [{country: all, stage: curated, verbs: [query]}]}]}\n"
	const refused = "access.people[0].may: its role would need more than 10 managed policies of 6144 characters, which is what IAM takes: those of 40 countries do not fit: " +
		"split analysts into several, for example one a group of countries, grant a stage instead of many feeds, " +
		"or have AWS raise the account's quota of managed policies per role, and write it as access.policiesPerRole"
	for raised, want := range map[string]string{"": refused, "policiesPerRole: 20, ": "", "policiesPerRole: 21, ": "access.policiesPerRole: maximum: got 21, want 20"} {
		_, err := ReadConfig("test", values(t, head+fmt.Sprintf(table, raised)+"  sluice:countries:\n"+manyCountries(40)), root)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\nwant %s", raised, err, want)
		}
	}
}

func TestSharedNetworkIsChecked(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	const own, other = "accountId: '000011112222'", "accountId: '333344445555'"
	for name, c := range map[string]struct{ shared, want string }{
		"overlap":             {"{vpcId: vpc-12345678, cidr: 10.16.0.0/12, routeTableIds: [rtb-12345678]}", "  countries[0].cidr: 10.16.0.0/16 overlaps network.shared.cidr"},
		"no block":            {"{vpcId: vpc-12345678, cidr: here, routeTableIds: [rtb-12345678]}", `  network.shared.cidr: "here" is no IPv4 block, for example 10.0.0.0/16`},
		"bits set":            {"{vpcId: vpc-12345678, cidr: 10.0.1.0/16, routeTableIds: [rtb-12345678]}", `  network.shared.cidr: "10.0.1.0/16" is no IPv4 block, for example 10.0.0.0/16`},
		"no way back":         {"{vpcId: vpc-12345678, cidr: 10.0.0.0/16, " + own + "}", "  network.shared.routeTableIds: name the route tables of vpc-12345678 that get the way back to us"},
		"routes out of reach": {"{vpcId: vpc-12345678, cidr: 10.0.0.0/16, " + other + ", routeTableIds: [rtb-12345678]}", "  network.shared.routeTableIds: routes in account 333344445555 take a role there: name it as roleArn, or leave the routes to the owner of vpc-12345678"},
		"wrong id":            {"{vpcId: shared, cidr: 10.0.0.0/16}", `  network.shared.vpcId: 'shared' does not match pattern '^vpc-[0-9a-f]{8,17}$'`},
		"own":                 {"{vpcId: vpc-12345678, cidr: 10.0.0.0/16, routeTableIds: [rtb-12345678]}", ""},
		"owner's to accept":   {"{vpcId: vpc-12345678, cidr: 10.0.0.0/16, " + other + "}", ""},
		"by a role":           {"{vpcId: vpc-12345678, cidr: 10.0.0.0/16, " + other + ", roleArn: 'arn:aws:iam::333344445555:role/peer', routeTableIds: [rtb-12345678]}", ""},
	} {
		_, err := ReadConfig("test", values(t, head+"  sluice:network: {shared: "+c.shared+"}\n  sluice:countries: [{code: us, cidr: 10.16.0.0/16, feeds: [orders]}]\n"), root)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || err.Error() != "stack test cannot be deployed:\n"+c.want):
			t.Errorf("%s: %v\nwant %s", name, err, c.want)
		}
	}
}

func TestCountryHasItsNetworkOtherwise(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	c, err := ReadConfig("test", values(t, head+`
  sluice:network: {nat: one, endpoints: [sts], flowLogDays: 7, shared: {vpcId: vpc-12345678, cidr: 10.0.0.0/16, routeTableIds: [rtb-12345678]}}
  sluice:countries:
    - {code: us, cidr: 10.16.0.0/16, feeds: [orders]}
    - {code: uy, cidr: 10.17.0.0/16, feeds: [orders], region: sa-east-1, network: {nat: perZone, endpoints: [], shared: {vpcId: vpc-87654321, cidr: 10.1.0.0/16, routeTableIds: [rtb-87654321]}}}
`), root)
	if err != nil {
		t.Fatal(err)
	}
	us, uy := c.Countries[0].Network, c.Countries[1].Network
	if us.NAT != "one" || !slices.Equal(us.Endpoints, []string{"sts"}) || us.FlowLogDays != 7 || us.Shared.VPCID != "vpc-12345678" || us.Shared.Region != "eu-west-1" {
		t.Errorf("us: %+v %+v", us, us.Shared)
	}
	if uy.NAT != "perZone" || uy.Endpoints == nil || len(uy.Endpoints) != 0 || uy.FlowLogDays != 7 || uy.Shared.VPCID != "vpc-87654321" || uy.Shared.Region != "sa-east-1" {
		t.Errorf("uy: %+v %+v", uy, uy.Shared)
	}
}
