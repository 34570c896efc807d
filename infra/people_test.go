package infra

import (
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/access"
)

func TestPeopleAndTheirGrantsAreExactlyTheirInventories(t *testing.T) {
	e := newExample(t)
	analysts := access.Person{Who: "analysts", May: []access.Grant{{Country: "us", Stage: "curated", Verbs: []access.Verb{access.Query}}}}
	feeder := access.Person{Who: "feeder", May: []access.Grant{{Country: "us", Stage: "landing", Feed: "flights", Verbs: []access.Verb{access.Write}}}}
	here := access.Country{Code: "us", Feeds: []string{"flights"}}
	saml := access.Trust{SAML: "arn:aws:iam::111122223333:saml-provider/staff"}
	registered := record(t, func(ctx *pulumi.Context) error {
		p, err := e.parts(ctx)
		if err != nil {
			return err
		}
		people, err := NewPeople(ctx, "people-111122223333", &PeopleArgs{Stack: "prod", Account: "111122223333",
			People:    map[string]access.Trust{"analysts": saml, "feeder": {Account: "444455556666"}},
			Operators: &saml, Tags: map[string]string{"Country": "shared"}})
		if err != nil {
			return err
		}
		rules := map[string]map[string][]access.Rule{"analysts": {"us": analysts.Rules(here)}, "feeder": {"us": feeder.Rules(here)}}
		packed := map[string]Packed{}
		for who, mine := range rules {
			if packed[who], err = PackPerson(who, []Access{p.access}, mine, DefaultRolePolicies); err != nil {
				return err
			}
		}
		if packed[access.OperatorName], err = PackOperators([]Access{p.access}, DefaultRolePolicies); err != nil {
			return err
		}
		if _, err := NewPermissions(ctx, "permissions-111122223333", &PermissionsArgs{Stack: "prod", People: people, Rules: rules, Packed: packed,
			Countries: map[string]Access{"us": p.access}, Tags: map[string]string{"Country": "shared"}}); err != nil {
			return err
		}
		if _, err := NewAccessTable(ctx, "accesstable-111122223333", &AccessTableArgs{Stack: "prod", People: []access.Person{analysts, feeder, {Who: access.OperatorName}},
			Tags: map[string]string{"Country": "shared"}}); err != nil {
			return err
		}
		_, err = NewGrants(ctx, "us", &GrantsArgs{ResultsBucket: p.lake.Names["artifacts"], CatalogName: "sluice_prod_us", KeyARN: p.keys.DataARN, ScanGB: 20,
			Rules: map[string][]access.Rule{"analysts": rules["analysts"]["us"], "feeder": rules["feeder"]["us"]}, Tags: map[string]string{"Country": "us"}})
		return err
	})
	inventories := map[string][]registration{}
	for _, r := range registered {
		switch {
		case r.Parent == "people-111122223333" || r.Name == "people-111122223333":
			inventories["people"] = append(inventories["people"], r)
		case strings.HasPrefix(r.Name, "accesstable-"):
			inventories["accesstable"] = append(inventories["accesstable"], r)
		case strings.HasPrefix(r.Name, "permissions-"):
			inventories["permissions"] = append(inventories["permissions"], r)
		case r.Name == "us-analysts" || r.Type == "sluice:security:Grants":
			inventories["grants"] = append(inventories["grants"], r)
		}
	}
	matchesInventory(t, "people", inventories["people"])
	matchesInventory(t, "grants", inventories["grants"])
	matchesInventory(t, "accesstable", inventories["accesstable"])
	matchesInventory(t, "permissions", inventories["permissions"])
}

func TestLongestNameOfAPersonFits(t *testing.T) {
	who := "w" + strings.Repeat("o", 31)
	if role := access.RoleName("abcdefghijk", who); len(role) > 64 {
		t.Errorf("role %s has %d characters", role, len(role))
	}
	if group := access.WorkgroupName("sluice_abcdefghijk_us", who); len(group) > 128 {
		t.Errorf("workgroup %s has %d characters", group, len(group))
	}
}
