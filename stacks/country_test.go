package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/discovery"
)

// recorder stands for the engine: it keeps each resource's inputs and parent as text, by type and name.
type recorder struct {
	lock       sync.Mutex
	registered map[string]string
	protected  map[string]bool // protected are the ids of what Pulumi must not delete.
	zones      int
	lacking    map[string][]string                                         // lacking are the instance types that a zone has not.
	closed     string                                                      // closed is a region that refuses every look-up.
	parameters map[string]string                                           // parameters are what the switch wrote, by name
	fails      string                                                      // fails is a country of which nothing can be made, as the program of a deployment that continues on errors sees it.
	before     map[string]any                                              // before are the countries' outputs after the last deployment.
	countries  map[string]any                                              // countries are those after this one.
	arn        func(kind, name string, inputs resource.PropertyMap) string // arn makes ARNs as AWS would; without it they are words.
}

func (r *recorder) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	if r.closed != "" && strings.Contains(args.Provider, r.closed) {
		return nil, errors.New("access denied")
	}
	names, values := []resource.PropertyValue{}, []resource.PropertyValue{}
	switch args.Token {
	case "aws:index/getAvailabilityZones:getAvailabilityZones":
		for i := range r.zones {
			names, values = append(names, resource.NewStringProperty(fmt.Sprintf("zone-%d", i))), append(values, resource.NewStringProperty(fmt.Sprintf("euw1-az%d", 4+i)))
		}
		return resource.PropertyMap{"names": resource.NewArrayProperty(names), "zoneIds": resource.NewArrayProperty(values)}, nil
	case "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings":
		filters := args.Args["filters"].ArrayValue() // location, instance-type
		for _, zone := range filters[0].ObjectValue()["values"].ArrayValue() {
			for _, name := range filters[1].ObjectValue()["values"].ArrayValue() {
				if !slices.Contains(r.lacking[zone.StringValue()], name.StringValue()) {
					names, values = append(names, name), append(values, zone)
				}
			}
		}
		return resource.PropertyMap{"instanceTypes": resource.NewArrayProperty(names), "locations": resource.NewArrayProperty(values)}, nil
	case "aws:ssm/getParametersByPath:getParametersByPath":
		for name, value := range r.parameters {
			if rest, below := strings.CutPrefix(name, args.Args["path"].StringValue()+"/"); below && !strings.Contains(rest, "/") {
				names, values = append(names, resource.NewStringProperty(name)), append(values, resource.NewStringProperty(value))
			}
		}
	default:
		return nil, fmt.Errorf("unexpected look-up %s", args.Token)
	}
	return resource.PropertyMap{"names": resource.NewArrayProperty(names), "values": resource.NewArrayProperty(values)}, nil
}

func (r *recorder) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	plain := args.Inputs.Copy()
	for key, value := range plain {
		if value.IsSecret() { // as the SDK takes every parameter's value
			plain[key] = value.SecretValue().Element
		}
	}
	text, err := json.Marshal(plain.Mappable())
	if err != nil {
		return "", nil, err
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	id := args.TypeToken + " " + args.Name
	if _, twice := r.registered[id]; twice {
		return "", nil, fmt.Errorf("%s is registered twice", id)
	}
	r.registered[id] = args.RegisterRPC.GetParent() + " " + args.RegisterRPC.GetProvider() + " " + string(text)
	r.protected[id] = args.RegisterRPC.GetProtect()
	if r.fails != "" && country(id) == r.fails {
		return "", resource.PropertyMap{}, nil
	}
	state := args.Inputs.Copy()
	if r.arn != nil {
		if arn := r.arn(args.TypeToken, args.Name, args.Inputs); arn != "" {
			state["arn"] = resource.NewStringProperty(arn)
		}
	}
	if args.TypeToken == "random:index/randomId:RandomId" {
		state["hex"] = resource.NewStringProperty(suffixOf(args.Name))
	}
	for _, computed := range []string{"allocationId", "arn", "defaultRouteTableId", "email", "keyId", "name", "prefixListId", "url", "bucket", "datasetId"} {
		if _, given := state[resource.PropertyKey(computed)]; !given {
			state[resource.PropertyKey(computed)] = resource.NewStringProperty(computed + "-of-" + args.Name)
		}
	}
	return "id-of-" + args.Name, state, nil
}

// suffixOf is the random end of a country's names, as long as it is.
func suffixOf(name string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(name))) }

// deployed is what a configuration registers, without building anything.
func deployed(t *testing.T, stack, text, root string, r *recorder) (map[string]string, error) {
	t.Helper()
	config, err := ReadConfig(stack, values(t, text), root)
	if err != nil {
		t.Fatal(err)
	}
	built := artifacts{root: root, functions: map[string]string{}, jobs: filepath.Join(root, "jobs.zip")}
	files := map[string]string{filepath.Join(root, infra.JobMain): "x = 1\n", filepath.Join(root, infra.UpkeepMain): "x = 1\n", built.jobs: "zip"}
	for _, name := range infra.Functions {
		built.functions[name] = filepath.Join(root, name+".zip")
		files[built.functions[name]] = name
	}
	for file, content := range files {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r.registered, r.protected = map[string]string{}, map[string]bool{}
	err = pulumi.RunErr(func(ctx *pulumi.Context) error {
		outputs, err := deploy(ctx, config, built)
		told(ctx, config, outputs, r.before).ApplyT(func(all map[string]any) any { r.countries = all; return nil })
		return err
	}, pulumi.WithMocks("sluice", stack, r))
	return r.registered, err
}

const (
	us = "    - {code: us, cidr: 10.16.0.0/16, feeds: [orders]}\n"
	uy = "    - {code: uy, cidr: 10.17.0.0/16, feeds: [orders]}\n"
)

// manyCountries are the YAML of n countries of one feed.
func manyCountries(n int) string {
	var list strings.Builder
	for i := range n {
		fmt.Fprintf(&list, "    - {code: %c%c, cidr: 10.%d.0.0/16, feeds: [orders]}\n", 'a'+i/26, 'a'+i%26, i)
	}
	return list.String()
}

func TestCountryThatComesOrGoesChangesNoOther(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	alone, err := deployed(t, "test", head+"  sluice:countries:\n"+us, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	together, err := deployed(t, "test", head+"  sluice:countries:\n"+uy+us, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	for id, inputs := range alone {
		if together[id] != inputs && !strings.HasPrefix(id, "pulumi:") {
			t.Errorf("%s changed:\n- %s\n+ %s", id, inputs, together[id])
		}
	}
	if want := 2*len(alone) - shared(alone); len(together) != want {
		t.Errorf("%d resources for two countries, want %d", len(together), want)
	}
}

// shared counts what is there once for all countries: the stack, the providers, and what an account has once.
func shared(registered map[string]string) int {
	n := 0
	for id := range registered {
		if strings.HasPrefix(id, "pulumi:") || strings.Contains(id, " shared-") {
			n++
		}
	}
	return n
}

func TestNothingOfACountryRefersToAnother(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	both, err := deployed(t, "test", head+"  sluice:countries:\n"+uy+us, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	mention := map[string]*regexp.Regexp{"us": regexp.MustCompile(`\buy[-_/]|[-_/]uy\b`), "uy": regexp.MustCompile(`\bus[-_/]|[-_/]us\b`)}
	for id, inputs := range both {
		name := id[strings.Index(id, " ")+1:]
		if other, ok := mention[name[:2]]; ok && other.MatchString(strings.ReplaceAll(inputs, "_", "-")) {
			t.Errorf("%s refers to the other country: %s", id, other.FindString(strings.ReplaceAll(inputs, "_", "-")))
		}
	}
}

func TestLongestNamesFit(t *testing.T) {
	feed := "f" + strings.Repeat("o", 62)
	root := contractsOf(t, map[string]string{feed + ".yaml": contractText(feed, marker)})
	stack := "abcdefghijk"
	registered, err := deployed(t, stack, head+"  sluice:driver: polling\n  sluice:countries: [{code: us, cidr: 10.16.0.0/16, feeds: ["+feed+"]}]\n", root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	// The names that we choose, and how long the service lets them be. The suffix has eight letters on a real cloud.
	limits := map[string]struct {
		field string
		most  int
	}{
		"aws:s3/bucketV2:BucketV2": {"bucket", 63}, "aws:lambda/function:Function": {"name", 64}, "aws:iam/role:Role": {"name", 64},
		"aws:glue/catalogDatabase:CatalogDatabase": {"name", 255}, "aws:athena/workgroup:Workgroup": {"name", 128}, "aws:lambda/permission:Permission": {"statementId", 100},
		"aws:sfn/stateMachine:StateMachine": {"name", 80},
		"gcp:storage/bucket:Bucket":         {"name", 63}, "gcp:serviceaccount/account:Account": {"accountId", 30}, "gcp:bigquery/dataset:Dataset": {"datasetId", 1024},
		"gcp:iam/workloadIdentityPool:WorkloadIdentityPool": {"workloadIdentityPoolId", 32},
	}
	checked := map[string]bool{}
	for id, text := range registered {
		kind, name, _ := strings.Cut(id, " ")
		var inputs map[string]any
		if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &inputs); err != nil {
			t.Fatal(err)
		}
		limit, ok := limits[kind]
		if !ok {
			continue
		}
		physical, given := inputs[limit.field].(string)
		if !given { // named by the provider: the logical name, a hyphen and seven letters
			physical = name + "-1234567"
		}
		if len(physical) > limit.most {
			t.Errorf("%s: %q has %d characters, more than %d", id, physical, len(physical), limit.most)
		}
		checked[kind] = true
	}
	if len(checked) != len(limits) {
		t.Errorf("only %v were there to check", checked)
	}
}

func TestEachCountryIsDrivenAsItSays(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	for driver, polled := range map[string][]string{"": {}, "  sluice:driver: push\n": {}, "  sluice:driver: polling\n": {"us", "uy"}} {
		registered, err := deployed(t, "test", head+driver+"  sluice:countries:\n"+us+uy+"    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders], driver: polling}\n"+
			"    - {code: br, cidr: 10.19.0.0/16, feeds: [orders], driver: push}\n", root, &recorder{zones: 3})
		if err != nil {
			t.Fatal(err)
		}
		polled = append(polled, "ar")
		for _, country := range []string{"us", "uy", "ar", "br"} {
			_, machine := registered["aws:sfn/stateMachine:StateMachine "+country+"-polling"]
			_, told := registered["aws:s3/bucketNotification:BucketNotification "+country+"-landed"]
			if want := slices.Contains(polled, country); machine != want || told == want {
				t.Errorf("%q: %s has a state machine: %v, and is told of files: %v", driver, country, machine, told)
			}
		}
	}
}

func TestTooFewZonesAreRefused(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	_, err := deployed(t, "test", head+"  sluice:network: {zones: 3}\n  sluice:countries:\n"+us, root, &recorder{zones: 2})
	if err == nil || !strings.Contains(err.Error(), "region eu-west-1 has 2 availability zones, network.zones is 3") {
		t.Error(err)
	}
}

func TestInstanceTypesThatAZoneLacksAreLeftOutOrRefused(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	registered, err := deployed(t, "test", head+"  sluice:countries:\n"+us, root, &recorder{zones: 3, lacking: map[string][]string{"zone-2": {"m6g.xlarge"}}})
	if err != nil {
		t.Fatal(err)
	}
	if template := registered["aws:s3/bucketObjectv2:BucketObjectv2 us-template"]; strings.Contains(template, "m6g.xlarge") || !strings.Contains(template, "m6gd.xlarge") {
		t.Error(template)
	}
	_, err = deployed(t, "test", head+"  sluice:countries:\n"+us, root, &recorder{zones: 3, lacking: map[string][]string{"zone-2": infra.AllInstanceTypes()}})
	if err == nil || !strings.Contains(err.Error(), `country "us": cluster "us": primary type m6g.xlarge: neither it nor a type that stands for it is in every zone of the network; missing are m6g.xlarge (zone-2)`) {
		t.Error(err)
	}
}

func TestZonesThatLackServicesAreTakenLast(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	for network, want := range map[string][]string{ // zone-0 is euw1-az4, which is known to lack some
		"zones: 2":                         {"zone-1", "zone-2"},
		"zones: 3":                         {"zone-1", "zone-2", "zone-0"},
		"zones: 2, avoidZones: [euw1-az5]": {"zone-2", "zone-0"},
		"zones: 2, avoidZones: [euw1-az5, euw1-az6]": {"zone-0", "zone-1"},
	} {
		registered, err := deployed(t, "test", head+"  sluice:network: {"+network+"}\n  sluice:countries:\n"+us, root, &recorder{zones: 3})
		if err != nil {
			t.Fatal(err)
		}
		for i, zone := range want {
			if subnet := registered[fmt.Sprintf("aws:ec2/subnet:Subnet us-private-%d", i)]; !strings.Contains(subnet, `"availabilityZone":"`+zone+`"`) {
				t.Errorf("%s: subnet %d: %s", network, i, subnet)
			}
		}
	}
}

func TestCountriesInOnePlaceShareAProvider(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	registered, err := deployed(t, "test", head+"  sluice:countries:\n"+us+uy+
		"    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders], region: sa-east-1}\n"+
		"    - {code: br, cidr: 10.19.0.0/16, feeds: [orders], accountRoleArn: 'arn:aws:iam::333344445555:role/deploy'}\n", root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	providers := []string{}
	for id := range registered {
		if strings.HasPrefix(id, "pulumi:providers:aws ") {
			providers = append(providers, id)
		}
	}
	if len(providers) != 3 {
		t.Errorf("providers: %v", providers)
	}
	for id, want := range map[string]string{"us": "aws-000011112222-eu-west-1", "uy": "aws-000011112222-eu-west-1", "ar": "aws-000011112222-sa-east-1", "br": "aws-333344445555-eu-west-1"} {
		if got := registered["aws:kms/key:Key "+id+"-data"]; !strings.Contains(got, "::"+want+"::") {
			t.Errorf("%s is made by %s", id, got)
		}
	}
}

func TestCountryIsFoundInItsOwnRegionAndInTheEnvironments(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	table := "  sluice:access: {trust: {account: '000011112222'}, operators: {}, people: [{who: ana, may: [{country: all, stage: curated, verbs: [query]}]}]}\n"
	registered, err := deployed(t, "test", head+table+"  sluice:countries:\n"+us+
		"    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders], region: sa-east-1}\n"+
		"    - {code: br, cidr: 10.19.0.0/16, feeds: [orders], region: sa-east-1, accountRoleArn: 'arn:aws:iam::333344445555:role/deploy'}\n", root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	where := map[string]string{}
	for id, text := range registered {
		if name, ok := strings.CutPrefix(id, "aws:ssm/parameter:Parameter "); ok {
			where[name] = inputs(t, text)["name"].(string) + " " + strings.Split(strings.Fields(text)[1], "::")[3]
		}
	}
	want := map[string]string{
		"us": "/sluice/test/countries/us aws-000011112222-eu-west-1",
		"ar": "/sluice/test/countries/ar aws-000011112222-sa-east-1", "ar-home": "/sluice/test/countries/ar aws-000011112222-eu-west-1",
		"br": "/sluice/test/countries/br aws-333344445555-sa-east-1", "br-home": "/sluice/test/countries/br aws-333344445555-eu-west-1",
		"accesstable-000011112222-ana-1": "/sluice/test/access/ana/1 aws-000011112222-eu-west-1", "accesstable-000011112222-operator-1": "/sluice/test/access/operator/1 aws-000011112222-eu-west-1",
		"accesstable-333344445555-ana-1": "/sluice/test/access/ana/1 aws-333344445555-eu-west-1", "accesstable-333344445555-operator-1": "/sluice/test/access/operator/1 aws-333344445555-eu-west-1",
	}
	if !reflect.DeepEqual(where, want) {
		t.Errorf("got  %v\nwant %v", where, want)
	}
}

func TestOutputsNameThePartsOfACountryAsItsDocumentDoes(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	r := &recorder{zones: 3}
	registered, err := deployed(t, "test", head+"  sluice:driver: polling\n  sluice:countries:\n"+us, root, r)
	if err != nil {
		t.Fatal(err)
	}
	document, err := discovery.Parse("test", "us", []byte(inputs(t, registered["aws:ssm/parameter:Parameter us"])["value"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r.countries["us"])
	if err != nil {
		t.Fatal(err)
	}
	var outputs struct { // what people's scripts rely on
		Region, TimeZone, Workgroup, Workflow, Dataset, GoogleProject, DataKey, Application, StateMachine string

		Parallel  int
		Buckets   discovery.Buckets
		Queues    discovery.Queues
		Topics    discovery.Topics
		Tables    discovery.Tables
		Databases discovery.Databases
		Functions map[string]string
	}
	if err := json.Unmarshal(text, &outputs); err != nil {
		t.Fatal(err)
	}
	if outputs.Buckets != document.Buckets || outputs.Queues != document.Queues || outputs.Topics != document.Topics || outputs.Tables != document.Tables || outputs.Databases != document.Databases {
		t.Errorf("outputs %s\ndocument %+v", text, document)
	}
	for got, want := range map[string]string{outputs.Region: document.Region, outputs.TimeZone: document.TimeZone, outputs.Workgroup: document.Workgroup, outputs.Dataset: document.Google.Dataset,
		outputs.GoogleProject: document.Google.Project, outputs.DataKey: document.Compute.KMSKeyARN, outputs.Application: document.Compute.Serverless.ApplicationID,
		outputs.Functions["start-jobs"]: "sluice-test-us-start-jobs", outputs.StateMachine: "arn-of-us-polling", outputs.Workflow: "sluice-test-us-nightly"} {
		if got != want || got == "" {
			t.Errorf("output %q, want %q", got, want)
		}
	}
	if outputs.Parallel != 5 || len(outputs.Functions) != len(infra.Functions) {
		t.Errorf("outputs %s", text)
	}
}

func TestSharedNetworkIsReachedByWhoMayWriteThere(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	for _, c := range []struct{ name, shared, provider string }{
		{"same account and region", "routeTableIds: [rtb-12345678]", "aws-000011112222-eu-west-1"},
		{"another region", "region: eu-central-1, routeTableIds: [rtb-12345678]", "aws-000011112222-eu-central-1"},
		{"another account by a role", "accountId: '333344445555', roleArn: 'arn:aws:iam::333344445555:role/peer', routeTableIds: [rtb-12345678]", "aws-333344445555-eu-west-1-shared"},
		{"another account by its owner", "accountId: '333344445555'", ""},
	} {
		registered, err := deployed(t, "test", head+"  sluice:network: {shared: {vpcId: vpc-12345678, cidr: 10.0.0.0/16, "+c.shared+"}}\n  sluice:countries:\n"+us, root, &recorder{zones: 2})
		if err != nil {
			t.Fatal(err)
		}
		if request := registered["aws:ec2/vpcPeeringConnection:VpcPeeringConnection us-shared"]; !strings.Contains(request, "::aws-000011112222-eu-west-1::") {
			t.Errorf("%s: requested by %q", c.name, request)
		}
		for _, id := range []string{"aws:ec2/vpcPeeringConnectionAccepter:VpcPeeringConnectionAccepter us-shared", "aws:ec2/route:Route us-shared-back-0"} {
			got, made := registered[id]
			if made != (c.provider != "") || made && !strings.Contains(got, "::"+c.provider+"::") {
				t.Errorf("%s: %s is made by %q", c.name, id, got)
			}
		}
	}
}

func TestSwitchedOffPartsOfTheNetworkAreNotThere(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	text := head + "  sluice:network: {nat: one}\n  sluice:countries:\n" + us
	for _, c := range []struct {
		off       map[string]string
		gateways  int
		endpoints int
	}{
		{nil, 1, 4},
		{map[string]string{"/sluice/test/compute/us/nat": "off"}, 0, 4},
		{map[string]string{"/sluice/test/compute/us/endpoints": "off"}, 1, 2},
	} {
		registered, err := deployed(t, "test", text, root, &recorder{zones: 2, parameters: c.off})
		if err != nil {
			t.Fatal(err)
		}
		gateways, endpoints := 0, 0
		for id := range registered {
			if strings.HasPrefix(id, "aws:ec2/natGateway:") {
				gateways++
			}
			if strings.HasPrefix(id, "aws:ec2/vpcEndpoint:") {
				endpoints++
			}
		}
		if gateways != c.gateways || endpoints != c.endpoints {
			t.Errorf("off %v: %d gateways, %d endpoints", c.off, gateways, endpoints)
		}
	}
}

func TestDataIsLetGoByItsNameOnlyUnlessNothingIsProtected(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	const usData, uyData, trailData = "aws:s3/bucketV2:BucketV2 us-landing", "aws:s3/bucketV2:BucketV2 uy-landing", "aws:s3/bucketV2:BucketV2 shared-000011112222"
	for _, c := range []struct {
		protection, named string
		us, uy, trail     bool // whether it is protected
	}{
		{"", "", true, true, true}, // on by default
		{"", "[uy]", true, false, true},
		{"true", "", true, true, true},
		{"true", "[uy]", true, false, true},
		{"true", "[trail]", true, true, false},
		{"true", "[us, uy, trail]", false, false, false},
		{"false", "", false, false, false},
		{"false", "[uy]", false, false, false},
	} {
		text := head
		for key, value := range map[string]string{"dataProtection": c.protection, "allowDataDeletion": c.named} {
			if value != "" {
				text += "  sluice:" + key + ": " + value + "\n"
			}
		}
		r := &recorder{zones: 3}
		registered, err := deployed(t, "test", text+"  sluice:countries:\n"+us+uy, root, r)
		if err != nil {
			t.Fatal(err)
		}
		for id, want := range map[string]bool{usData: c.us, uyData: c.uy, trailData: c.trail} {
			// What may go is to go with what is in it, or AWS refuses.
			if forced := inputs(t, registered[id])["forceDestroy"]; r.protected[id] != want || forced == want {
				t.Errorf("dataProtection %q, allowDataDeletion %q: %s is protected: %v, want %v; forceDestroy %v", c.protection, c.named, id, r.protected[id], want, forced)
			}
		}
	}
}

func TestScanLimitHoldsInEveryWorkgroup(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	table := "  sluice:access: {trust: {account: '000011112222'}, people: [{who: ana, may: [{country: us, stage: curated, verbs: [query]}]}]}\n"
	for setting, want := range map[string]float64{"": 100e9, "  sluice:athena: {scanLimitGB: 20}\n": 20e9} {
		registered, err := deployed(t, "test", head+setting+table+"  sluice:countries:\n"+us, root, &recorder{zones: 3})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"us", "us-ana"} {
			group, there := registered["aws:athena/workgroup:Workgroup "+name]
			if !there {
				t.Fatalf("no workgroup %s", name)
			}
			if got := inputs(t, group)["configuration"].(map[string]any)["bytesScannedCutoffPerQuery"]; got != want {
				t.Errorf("%q: a query of workgroup %s may read %v bytes, want %v", setting, name, got, want)
			}
		}
	}
}
