package access

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

var (
	us = Country{Code: "us", Feeds: []string{"flights", "weather"}, Sealed: []string{"weather"}}
	pr = Country{Code: "pr", Feeds: []string{"flights"}}
)

func TestRulesAreTheLinesThatHoldInACountry(t *testing.T) {
	p := Person{Who: "ana", May: []Grant{
		{Country: "us", Stage: "landing", Feed: "weather", Verbs: []Verb{Write, List}},
		{Country: All, Stage: "curated", Verbs: []Verb{Query}},
		{Country: All, Stage: "invalid", Feed: "weather", Verbs: []Verb{Read}},
		{Country: "us", Stage: "landing", Prefix: "w", Verbs: []Verb{Read}},
		{Country: "us", Stage: "landing", Prefix: "weather/2013-01-", Verbs: []Verb{Read}},
		{Country: "us", Stage: "landing", Prefix: "weathers", Verbs: []Verb{Read}},
	}}
	want := map[string][]Rule{
		"us": {
			{Line: 1, Stage: "landing", Feed: "weather", Prefix: "weather/", Verbs: []Verb{List, Write}, Sealed: true},
			{Line: 2, Stage: "curated", Verbs: []Verb{List, Read, Query}},
			{Line: 3, Stage: "invalid", Feed: "weather", Prefix: "weather/", Verbs: []Verb{Read}},
			{Line: 4, Stage: "landing", Prefix: "w", Verbs: []Verb{Read}, Sealed: true},
			{Line: 5, Stage: "landing", Prefix: "weather/2013-01-", Verbs: []Verb{Read}, Sealed: true},
			{Line: 6, Stage: "landing", Prefix: "weathers", Verbs: []Verb{Read}},
		},
		"pr": {{Line: 2, Stage: "curated", Verbs: []Verb{List, Read, Query}}},
	}
	for _, country := range []Country{us, pr} {
		if got := p.Rules(country); !reflect.DeepEqual(got, want[country.Code]) {
			t.Errorf("%s: %+v", country.Code, got)
		}
	}
}

func TestKeyIsDecidedLetterByLetter(t *testing.T) {
	rules := Person{May: []Grant{
		{Country: "us", Stage: "landing", Feed: "flights", Verbs: []Verb{List, Read}},
		{Country: "us", Stage: "landing", Prefix: "weather/2013-01-", Verbs: []Verb{Write}},
		{Country: "us", Stage: "curated", Feed: "flights", Verbs: []Verb{Query}},
		{Country: "us", Stage: "landing", Feed: "flights", Verbs: []Verb{List}},
	}}.Rules(us)
	for _, c := range []struct {
		stage, key string
		verb       Verb
		sid        string
	}{
		{"landing", "flights/2013-01-01/a.csv", Read, "ReadLanding1"},
		{"landing", "flights/", List, "ListLanding1and4"},
		{"landing", "flights", List, ""},
		{"landing", "flights2/2013-01-01/a.csv", Read, ""},
		{"landing", "Flights/2013-01-01/a.csv", Read, ""},
		{"landing", "flights/../weather/a.csv", Read, "ReadLanding1"}, // S3 resolves nothing: this is a key below flights/
		{"landing", "weather/../flights/a.csv", Read, ""},
		{"landing", "flights%2F2013-01-01/a.csv", Read, ""},
		{"landing", "flights/2013-01-01/a.csv", Write, ""},
		{"landing", "weather/2013-01-05/b.csv", Write, "WriteLanding2"},
		{"landing", "weather/2013-02-05/b.csv", Write, ""},
		{"curated", "flights/data/a.parquet", Read, "ReadCurated3"},
		{"curated", "flights/data/a.parquet", Query, ""},
		{"validated", "flights/data/a.parquet", Read, ""},
	} {
		sid, allowed := Decide(rules, c.stage, c.key, c.verb)
		if sid != c.sid || allowed != (c.sid != "") {
			t.Errorf("%s %s/%s: %q, %v", c.verb, c.stage, c.key, sid, allowed)
		}
	}
	for feed, want := range map[string]string{"flights": "QueryCurated3", "weather": ""} {
		if sid, _ := DecideQuery(rules, "curated", feed); sid != want {
			t.Errorf("query %s: %q", feed, sid)
		}
	}
}

func TestHostilePrefixIsRefused(t *testing.T) {
	for _, prefix := range []string{"*", "flights/*", "fl?ghts/", "${aws:username}/", "$", "flights%2f", "../", "flights/../weather/", "flights/..", "./flights/",
		"/flights/", "flights//", `flights\`, "flights/\x00", "flights/é", " flights/", "flights/ ", "flights/\n", strings.Repeat("a", 513)} {
		if badPrefix(prefix) == "" {
			t.Errorf("%q is taken", prefix)
		}
	}
	for _, prefix := range []string{"flights", "flights/", "flights/2013-01-", "f", "a_b/c=d/..x/x..", "A/b.csv"} {
		if reason := badPrefix(prefix); reason != "" {
			t.Errorf("%q %s", prefix, reason)
		}
	}
}

func TestEveryFaultOfATableIsFoundWithItsPath(t *testing.T) {
	saml := &Trust{SAML: "arn:aws:iam::111122223333:saml-provider/staff"}
	read := []Grant{{Country: "us", Stage: "landing", Verbs: []Verb{Read}}}
	table := Table{
		Operators: &Operators{},
		People: []Person{
			{Who: "ana", Trust: saml, May: read},
			{Who: "ana", Trust: saml, May: read},
			{Who: "Bob", Trust: saml, May: read},
			{Who: "operator", Trust: saml, May: read},
			{Who: "team", May: nil},
			{Who: "eve", Trust: saml, May: []Grant{
				{Country: "uy", Stage: "lake", Verbs: nil},
				{Country: "pr", Stage: "landing", Feed: "weather", Verbs: []Verb{"own", Read, Read}},
				{Country: All, Stage: "curated", Feed: "flights", Prefix: "flights/x", Verbs: []Verb{Write, Delete, Query}},
			}},
			{Who: "mia", Trust: &Trust{SAML: "arn:aws:iam::111122223333:saml-provider/*"}, May: read},
			{Who: "noa", Trust: &Trust{OIDC: "arn:aws:iam::111122223333:oidc-provider/id.example.com", Audience: "sluice-*"}, May: read},
			{Who: "pau", Trust: &Trust{Account: "111122223333", Principals: []string{"arn:aws:iam::111122223333:role/*", "arn:aws:iam::444455556666:role/x"}}, May: read},
			{Who: "zoe", Trust: &Trust{Account: "111122223333", SAML: saml.SAML}, May: read},
			{Who: "yan", Trust: &Trust{SAML: saml.SAML, MFA: true, Subject: "x"}, May: read},
		},
	}
	var got []string
	for _, f := range table.Check([]Country{us, pr}) {
		got = append(got, f.Path)
	}
	want := []string{
		"operators.trust", "people[1].who", "people[2].who", "people[3].who", "people[4].trust", "people[4].may",
		"people[5].may[0].country", "people[5].may[0].stage", "people[5].may[0].verbs",
		"people[5].may[1].feed", "people[5].may[1].verbs[0]", "people[5].may[1].verbs[2]",
		"people[5].may[2].prefix", "people[5].may[2].verbs[0]", "people[5].may[2].verbs[1]", "people[5].may[2].verbs[2]",
		"people[6].trust.saml", "people[7].trust.audience", "people[7].trust.subject",
		"people[8].trust.principals[0]", "people[8].trust.principals[1]", "people[9].trust", "people[10].trust", "people[10].trust",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	right := Table{Trust: saml, Operators: &Operators{}, People: []Person{{Who: "ana", May: read}}}
	if found := right.Check([]Country{us}); len(found) > 0 {
		t.Errorf("a right table: %v", found)
	}
}

func TestStatementIDsHaveOnlyWhatIAMTakes(t *testing.T) {
	seen := map[string]bool{}
	for _, lines := range [][]int{{1}, {2}, {12}, {1, 2}, {1, 12}, {1, 2, 12}} {
		for _, stage := range Stages {
			for _, verb := range Verbs {
				var rules []Rule
				for _, line := range lines {
					rules = append(rules, Rule{Line: line, Stage: stage})
				}
				sid := Sid(string(verb), rules)
				if strings.Trim(sid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" || seen[sid] {
					t.Errorf("%q", sid)
				}
				seen[sid] = true
			}
		}
	}
	if len(seen) != 6*len(Stages)*len(Verbs) {
		t.Error(len(seen))
	}
}
