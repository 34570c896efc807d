package main

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/compute"
)

// of are the resources of a country, as they were registered; "" are those of none, providers left out.
func of(code string, registered map[string]string) map[string]string {
	own := map[string]string{}
	for id, text := range registered {
		if !strings.HasPrefix(id, "pulumi:") && (country(id) == code || code == "" && country(id) != "us" && country(id) != "uy") {
			own[id] = text
		}
	}
	return own
}

// differ are the ids of what is not the same in both.
func differ(a, b map[string]string) []string {
	ids := []string{}
	for id := range maps.Keys(a) {
		if b[id] != a[id] {
			ids = append(ids, id)
		}
	}
	for id := range maps.Keys(b) {
		if _, there := a[id]; !there {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func TestWhateverHappensToACountryChangesNoOther(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker), "items.yaml": contractText("items", marker)})
	with := func(text string, parameters map[string]string) (map[string]string, error) {
		t.Helper()
		return deployed(t, "test", head+"  sluice:countries:\n"+text, root, &recorder{zones: 3, parameters: parameters})
	}
	before, err := with(us+uy, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(of("us", before)) < 100 || len(of("uy", before)) != len(of("us", before)) {
		t.Fatalf("%d and %d resources: this is not the whole program", len(of("us", before)), len(of("uy", before)))
	}
	off := map[string]string{}
	for _, part := range compute.Parts {
		off[compute.ParameterName("test", "uy", part.Name)] = compute.Off
	}
	for name, c := range map[string]struct {
		countries  string
		parameters map[string]string
		fails      string
	}{
		"added":            {us + uy + "    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders]}\n", nil, ""},
		"added first":      {"    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders]}\n" + us + uy, nil, ""},
		"removed":          {us, nil, ""},
		"with more feeds":  {us + "    - {code: uy, cidr: 10.17.0.0/16, feeds: [orders, items]}\n", nil, ""},
		"resized":          {us + "    - {code: uy, cidr: 10.99.0.0/20, feeds: [orders], parallel: 9, timeZone: America/Montevideo}\n", nil, ""},
		"elsewhere":        {us + "    - {code: uy, cidr: 10.17.0.0/16, feeds: [orders], region: sa-east-1}\n", nil, ""},
		"switched off":     {us + uy, off, ""},
		"broken":           {us + uy, map[string]string{compute.ParameterName("test", "uy", compute.NAT): "neither"}, `country "uy": parameter /sluice/test/compute/uy/nat is "neither"`},
		"broken and first": {uy + us, map[string]string{compute.ParameterName("test", "uy", compute.NAT): "neither"}, `country "uy": parameter /sluice/test/compute/uy/nat is "neither"`},
	} {
		t.Run(name, func(t *testing.T) {
			after, err := with(c.countries, c.parameters)
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails) || strings.Contains(err.Error(), `country "us"`)) {
				t.Fatal(err)
			}
			if changed := differ(of("us", before), of("us", after)); len(changed) != 0 {
				t.Errorf("changed in us: %q", changed)
			}
			// What is shared names no country: it changes with none.
			if changed := differ(of("", before), of("", after)); !strings.HasPrefix(name, "added") && name != "elsewhere" && len(changed) != 0 {
				t.Errorf("changed in what is shared: %q", changed)
			}
			gone := strings.HasPrefix(name, "removed")
			if left := of("uy", after); gone && len(left) != 0 {
				t.Errorf("%d resources of uy are left", len(left))
			}
		})
	}
}

// TestCountryChangesOnlyThePoliciesThatHoldItsRights has roles of all countries: one that comes, goes or breaks changes the two policies,
// one of each role, that say what may be done there.
func TestCountryChangesOnlyThePoliciesThatHoldItsRights(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	text := head + "  sluice:access: {trust: {account: '000011112222'}, operators: {}, people: [{who: ana, may: [{country: all, stage: curated, verbs: [query]}]}]}\n  sluice:countries:\n"
	few, uy := manyCountries(12), "    - {code: uy, cidr: 10.99.0.0/16, feeds: [orders]}\n"
	with := func(countries string, parameters map[string]string, fails bool) map[string]string {
		t.Helper()
		registered, err := deployed(t, "test", text+countries, root, &recorder{zones: 3, parameters: parameters})
		if (err != nil) != fails {
			t.Fatal(err)
		}
		return registered
	}
	before := with(few, nil, false)
	broken := map[string]string{compute.ParameterName("test", "uy", compute.NAT): "neither"}
	together := with(few+uy, nil, false)
	for name, c := range map[string]struct{ from, to map[string]string }{
		"comes": {before, together}, "comes first": {before, with(uy+few, nil, false)}, "breaks": {together, with(few+uy, broken, true)},
	} {
		var policies []string
		for _, id := range differ(c.from, c.to) {
			if strings.HasPrefix(id, "pulumi:") || country(id) == "uy" {
				continue
			}
			if _, there := c.to[id]; strings.Contains(id, " accesstable-") && name == "breaks" && !there {
				continue // what is told of the table stays as it was, too
			}
			if !strings.HasPrefix(id, "aws:iam/policy:Policy permissions-000011112222-") && !strings.HasPrefix(id, "aws:iam/rolePolicyAttachment:RolePolicyAttachment permissions-000011112222-") {
				t.Errorf("%s: changed %s", name, id)
			}
			policies = append(policies, strings.TrimPrefix(id[strings.Index(id, " "):], " permissions-000011112222-"))
		}
		slices.Sort(policies)
		if whose := slices.Compact(policies); len(whose) != 2 || !strings.HasPrefix(whose[0], "ana-") || !strings.HasPrefix(whose[1], "operator-") {
			t.Errorf("%s: changed policies %q, want one of each role", name, whose)
		}
	}
	// What holds rights on a broken country is not registered: a deployment that fails deletes nothing, so it stays as it was.
	for id, text := range with(few+uy, broken, true) {
		if strings.HasPrefix(id, "aws:iam/policy:Policy permissions-") && together[id] != text {
			t.Errorf("%s lost rights on a country that could not be composed", id)
		}
	}
}

func TestPlaceThatCannotBeOpenedStopsItsOwnCountriesOnly(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	text := head + "  sluice:countries:\n" + us +
		"    - {code: uy, cidr: 10.17.0.0/16, feeds: [orders], region: sa-east-1}\n" +
		"    - {code: ar, cidr: 10.18.0.0/16, feeds: [orders], region: sa-east-1}\n"
	alone, err := deployed(t, "test", head+"  sluice:countries:\n"+us, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	after, err := deployed(t, "test", text, root, &recorder{zones: 3, closed: "sa-east-1"})
	for _, want := range []string{`country "uy": availability zones of sa-east-1: access denied`, `country "ar": availability zones of sa-east-1: access denied`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	if changed := differ(of("us", alone), of("us", after)); len(changed) != 0 {
		t.Errorf("changed in us: %q", changed)
	}
	if len(of("uy", after))+len(of("ar", after)) != 0 {
		t.Error("resources were registered where nothing can be")
	}
}

// With --continue-on-error the program is told of a resource that failed, and of all that need it, as if AWS had said nothing of them.
func TestCountryThatAWSRefusesStopsNoOtherAndKeepsItsOutputs(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	table := "  sluice:access: {trust: {account: '000011112222'}, operators: {}, people: [{who: ana, may: [{country: all, stage: curated, verbs: [query]}]}]}\n"
	for _, driver := range []string{"push", "polling"} {
		text := head + table + "  sluice:driver: " + driver + "\n  sluice:countries:\n" + strings.ReplaceAll(us+uy, "}", ", compute: {standing: true}}")
		whole := &recorder{zones: 3}
		if _, err := deployed(t, "test", text, root, whole); err != nil {
			t.Fatal(err)
		}
		if len(whole.countries) != 2 {
			t.Fatalf("%s: outputs %v", driver, whole.countries)
		}
		for _, before := range []map[string]any{nil, {"us": "an older one", "uy": "from before", "ar": "not there any more"}} {
			r := &recorder{zones: 3, fails: "uy", before: before}
			registered, err := deployed(t, "test", text, root, r)
			if err != nil {
				t.Fatalf("%s: %v", driver, err)
			}
			if changed := differ(of("us", whole.registered), of("us", registered)); len(changed) != 0 {
				t.Errorf("%s: changed in us: %q", driver, changed)
			}
			want := map[string]any{"us": whole.countries["us"]}
			if before != nil {
				want["uy"] = "from before"
			}
			if !reflect.DeepEqual(r.countries, want) {
				t.Errorf("%s: outputs %v, want %v", driver, r.countries, want)
			}
		}
	}
}

// engineWith stands for an engine that knows the outputs of the stack test, or cannot read them.
type engineWith struct{ outputs map[string]any }

func (e engineWith) Call(args pulumi.MockCallArgs) (resource.PropertyMap, error) {
	if want := "organization/sluice/test"; args.Token != "pulumi:pulumi:readStackOutputs" || args.Args["name"].StringValue() != want || e.outputs == nil {
		return nil, errors.New("refused")
	}
	return resource.PropertyMap{"outputs": resource.NewObjectProperty(resource.NewPropertyMapFromMap(e.outputs))}, nil
}

func (engineWith) NewResource(args pulumi.MockResourceArgs) (string, resource.PropertyMap, error) {
	return "id", args.Inputs, nil
}

func TestOutputsOfBeforeAreReadOrDoneWithout(t *testing.T) {
	countries := map[string]any{"us": map[string]any{"region": "us-east-1"}}
	for why, c := range map[string]struct {
		outputs map[string]any
		want    map[string]any
	}{
		"deployed before": {map[string]any{"countries": countries, "other": "x"}, countries},
		"the first time":  {map[string]any{}, nil},
		"nobody can tell": {nil, nil},
	} {
		var got map[string]any
		err := pulumi.RunErr(func(ctx *pulumi.Context) error { got = lastOutputs(ctx); return nil },
			pulumi.WithMocks("sluice", "test", engineWith{c.outputs}), func(info *pulumi.RunInfo) { info.Organization = "organization" })
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v", why, got, err)
		}
	}
}
