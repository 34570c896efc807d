package access

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/discovery"
)

func TestStoredTableIsReadBackWhateverItsSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stored, want := map[string]string{}, map[string]Person{}
		for i := range rapid.IntRange(0, 3).Draw(t, "people") {
			p := Person{Who: fmt.Sprintf("who-%d", i)}
			for range rapid.IntRange(0, 60).Draw(t, "lines") {
				p.May = append(p.May, Grant{Country: rapid.SampledFrom([]string{All, "us"}).Draw(t, "country"), Stage: rapid.SampledFrom(Stages).Draw(t, "stage"),
					Prefix: strings.Repeat("p", rapid.IntRange(0, 512).Draw(t, "prefix")), Verbs: []Verb{List, Read}})
			}
			values, err := Store("prod", p)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range values {
				if len(value) > discovery.MaxBytes {
					t.Errorf("%s has %d bytes", name, len(value))
				}
			}
			maps.Copy(stored, values)
			want[p.Who] = p
		}
		if got, err := Load("prod", stored); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	})
}

func TestStoredTableIsWhereItsPersonIs(t *testing.T) {
	values, err := Store("prod", Person{Who: OperatorName})
	if want := map[string]string{"/sluice/prod/access/operator/1": `{"version":1,"first":1,"may":[]}`}; err != nil || !maps.Equal(values, want) {
		t.Errorf("%v, %v", values, err)
	}
	if _, err := Store("prod", Person{Who: "ana", May: []Grant{{Prefix: strings.Repeat("p", discovery.MaxBytes)}}}); err == nil ||
		!strings.HasPrefix(err.Error(), "access table: line 1 of ana has 41") {
		t.Errorf("a line that no parameter holds: %v", err)
	}
}

func TestStoredTableThatCannotBeUsedIsRefusedWithTheWayOut(t *testing.T) {
	const one, two = "/sluice/prod/access/ana/1", "/sluice/prod/access/ana/2"
	for want, values := range map[string]map[string]string{
		one + ": it has version 2, and this program reads version 1: update the program (make commands in a newer checkout)": {one: `{"version":2,"lines":[]}`},
		one + ": it has version 0, and this program reads version 1: deploy the stack again with this checkout (make up)":    {one: `{}`},
		one + `: it cannot be read (json: unknown field "lines"); deploy the stack again`:                                    {one: `{"version":1,"lines":[]}`},
		one + ": it cannot be read (unexpected end of JSON input); deploy the stack again":                                   {one: ``},
		"line 1 of ana is not stored; deploy the stack again":                                                                {two: `{"version":1,"first":2,"may":[{}]}`},
		"line 2 of ana is not stored; deploy the stack again":                                                                {one: `{"version":1,"first":1,"may":[{}]}`, two: `{"version":1,"first":3,"may":[{}]}`},
		"/sluice/prod/access/ana is no part of it; delete the parameter, or deploy the stack again":                          {"/sluice/prod/access/ana": `{"version":1,"first":1,"may":[]}`},
	} {
		if _, err := Load("prod", values); err == nil || err.Error() != "access table: "+want {
			t.Errorf("%v:\ngot  %v\nwant %s", values, err, want)
		}
	}
}

func TestCallerIsKnownByTheRoleThatWasTaken(t *testing.T) {
	for arn, want := range map[string]string{
		"arn:aws:sts::111122223333:assumed-role/sluice-prod-access-analysts/ana": "analysts",
		"arn:aws:sts::111122223333:assumed-role/sluice-dev-access-analysts/ana":  "",
		"arn:aws:sts::111122223333:assumed-role/sluice-prod-operator/ana":        "",
		"arn:aws:sts::111122223333:assumed-role/my-sluice-prod-access-x/ana":     "",
		"arn:aws:iam::111122223333:user/sluice-prod-access-analysts":             "",
		"arn:aws:iam::111122223333:root":                                         "",
	} {
		if got := PersonOf("prod", arn); got != want {
			t.Errorf("%s: %q, want %q", arn, got, want)
		}
	}
}
