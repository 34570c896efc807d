package infra

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/policies"
)

// somewhere are n countries of one account: aa, ab, …
func somewhere(n int) []Access {
	list := make([]Access, n)
	for i := range list {
		list[i] = Access{Account: "111122223333", Region: "eu-west-1", Stack: "prod", Country: string([]byte{'a' + byte(i/26), 'a' + byte(i%26)}), Polling: i%2 == 0}
	}
	return list
}

// everywhere are grants of verbs for all countries: on this many feeds, or on the whole stage when there are none; and what they are in
// each country.
func everywhere(feeds int, verbs ...access.Verb) func([]Access) map[string][]access.Rule {
	p := access.Person{May: []access.Grant{{Country: access.All, Stage: "curated", Verbs: verbs}}}
	here := access.Country{}
	for i := range feeds {
		here.Feeds = append(here.Feeds, fmt.Sprintf("feed_%02d", i))
	}
	if feeds > 0 {
		p.May = nil
	}
	for _, feed := range here.Feeds {
		p.May = append(p.May, access.Grant{Country: access.All, Stage: "curated", Feed: feed, Verbs: verbs})
	}
	return func(countries []Access) map[string][]access.Rule {
		rules := map[string][]access.Rule{}
		for _, a := range countries {
			here.Code = a.Country
			rules[a.Country] = p.Rules(here)
		}
		return rules
	}
}

// TestGrantOfAllCountriesFitsAsManyAsIAMTakes holds the table in docs/access.md to what is refused.
func TestGrantOfAllCountriesFitsAsManyAsIAMTakes(t *testing.T) {
	person := func(feeds int, verbs ...access.Verb) func([]Access, int) (Packed, error) {
		grants := everywhere(feeds, verbs...)
		return func(countries []Access, most int) (Packed, error) {
			return PackPerson("analysts", countries, grants(countries), most)
		}
	}
	for _, c := range []struct {
		name         string
		pack         func([]Access, int) (Packed, error)
		most, raised int // countries with IAM's default quota, and with the highest
	}{
		{"query a stage", person(0, access.Query), 36, 74},
		{"query 5 feeds", person(5, access.Query), 22, 45},
		{"query 10 feeds", person(10, access.Query), 15, 30},
		{"read 5 feeds", person(5, access.List, access.Read), 60, 120},
		{"read 20 feeds", person(20, access.List, access.Read), 20, 40},
		{"operators", PackOperators, 40, 80},
	} {
		for _, limit := range []struct{ policies, countries int }{{DefaultRolePolicies, c.most}, {20, c.raised}} {
			if _, err := c.pack(somewhere(limit.countries), limit.policies); err != nil {
				t.Errorf("%s: %d countries in %d policies: %v", c.name, limit.countries, limit.policies, err)
			}
			want := fmt.Sprintf("its role would need more than %d managed policies of 6144 characters, which is what IAM takes: those of %d countries do not fit", limit.policies, limit.countries+1)
			if _, err := c.pack(somewhere(limit.countries+1), limit.policies); err == nil || err.Error() != want {
				t.Errorf("%s: %d countries in %d policies: %v", c.name, limit.countries+1, limit.policies, err)
			}
		}
	}
}

// rights are all that documents allow, one action on one resource under one condition each.
func rights(t require, documents ...policies.Document) map[string]bool {
	all := map[string]bool{}
	for _, d := range documents {
		for _, s := range d.Statement {
			condition, err := json.Marshal(s.Condition)
			if err != nil || s.Effect != "Allow" {
				t.Fatalf("%+v: %v", s, err)
			}
			for _, action := range s.Action {
				for _, resource := range s.Resource {
					all[action+" "+resource+" "+string(condition)] = true
				}
			}
		}
	}
	return all
}

type require interface{ Fatalf(string, ...any) }

func TestPoliciesTogetherAllowWhatTheCountriesSay(t *testing.T) {
	feeds := []string{"orders", "orders_eu", "parcels", "items"}
	rapid.Check(t, func(t *rapid.T) {
		countries := somewhere(rapid.IntRange(1, 30).Draw(t, "countries"))
		p := access.Person{Who: "ana"}
		for range rapid.IntRange(1, 12).Draw(t, "lines") {
			code := rapid.SampledFrom([]string{access.All, access.All, countries[0].Country, countries[len(countries)-1].Country}).Draw(t, "country")
			g := access.Grant{Country: code, Stage: rapid.SampledFrom(access.Stages).Draw(t, "stage"), Verbs: rapid.SliceOfNDistinct(rapid.SampledFrom(access.Verbs), 1, 4, rapid.ID[access.Verb]).Draw(t, "verbs")}
			if g.Feed = rapid.SampledFrom(append(feeds, "")).Draw(t, "feed"); g.Feed == "" && !slices.Contains(g.Verbs, access.Query) {
				g.Prefix = rapid.SampledFrom([]string{"", "orders", "orders/2013-", "parcels/2013-01-01/"}).Draw(t, "prefix")
			}
			p.May = append(p.May, g)
		}
		rules, documents, apart := map[string][]access.Rule{}, map[string]policies.Document{}, []policies.Document{}
		for _, a := range countries {
			here := access.Country{Code: a.Country, Feeds: rapid.SliceOfNDistinct(rapid.SampledFrom(feeds), 1, 4, rapid.ID[string]).Draw(t, "feeds"), Sealed: []string{"parcels"}}
			if rules[a.Country] = p.Rules(here); len(rules[a.Country]) > 0 {
				documents[a.Country] = a.person(a.standIn(), p.Who, rules[a.Country])
				apart = append(apart, documents[a.Country])
			}
		}
		packed, err := PackPerson(p.Who, countries, rules, DefaultRolePolicies)
		if err != nil {
			if !strings.Contains(err.Error(), "would need more than") {
				t.Fatalf("%v", err)
			}
			t.Skip("more than a role can hold is refused, which TestGrantOfAllCountriesFitsAsManyAsIAMTakes holds; rapid draws again, and fails when most is such")
		}
		var together []policies.Document
		for _, parts := range packed {
			var held []policies.Document
			for _, part := range parts {
				held = append(held, part.of(documents[part.country]))
			}
			d := policies.Join(held...)
			ids := map[string]bool{}
			for _, s := range d.Statement {
				if ids[s.Sid] {
					t.Fatalf("%s is the id of two statements", s.Sid)
				}
				ids[s.Sid] = true
			}
			if length(d) > maxManagedPolicy {
				t.Fatalf("%d characters", length(d))
			}
			together = append(together, d)
		}
		if !reflect.DeepEqual(rights(t, together...), rights(t, apart...)) {
			t.Fatalf("together they allow something else")
		}
		slices.Reverse(countries)
		again, err := PackPerson(p.Who, countries, rules, DefaultRolePolicies)
		if err != nil || !reflect.DeepEqual(again, packed) {
			t.Fatalf("the order of countries matters: %v", err)
		}
	})
}

// TestCountryThatComesOrGoesLeavesOthersPoliciesAlone takes each of 20 countries out of a table, and counts the policies that change.
func TestCountryThatComesOrGoesLeavesOthersPoliciesAlone(t *testing.T) {
	grants, all := everywhere(0, access.Query), somewhere(20)
	pack := func(countries []Access) Packed {
		packed, err := PackPerson("analysts", countries, grants(countries), DefaultRolePolicies)
		if err != nil {
			t.Fatal(err)
		}
		return packed
	}
	full := pack(all)
	for i, gone := range all {
		left := pack(slices.Delete(slices.Clone(all), i, i+1))
		changed := 0
		for n := range full {
			if !reflect.DeepEqual(left[n], full[n]) {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%s comes and goes: %d policies change, want its own only", gone.Country, changed)
		}
	}
}

// TestPoliciesBeyondTheDefaultQuotaAreUsedLast raises the quota: nothing moves.
func TestPoliciesBeyondTheDefaultQuotaAreUsedLast(t *testing.T) {
	countries := somewhere(36)
	rules := everywhere(0, access.Query)(countries)
	packed, err := PackPerson("analysts", countries, rules, DefaultRolePolicies)
	if err != nil {
		t.Fatal(err)
	}
	raised, err := PackPerson("analysts", countries[:20], rules, 20)
	if err != nil {
		t.Fatal(err)
	}
	few, err := PackPerson("analysts", countries[:20], rules, DefaultRolePolicies)
	if err != nil || !reflect.DeepEqual(raised[:DefaultRolePolicies], few) || len(packed) != DefaultRolePolicies {
		t.Errorf("%v: %v, with the default quota %v", err, raised, few)
	}
	for n, parts := range raised[DefaultRolePolicies:] {
		if len(parts) > 0 {
			t.Errorf("policy %d has %v", n+DefaultRolePolicies+1, parts)
		}
	}
}
