package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/access"
)

// checkAccess checks the access table against the countries and their feeds, and that its policies fit IAM's limits.
func (c *Config) checkAccess(wrong *faults) {
	if wrong.at("access") {
		return // its faults would be told twice
	}
	countries := make([]access.Country, len(c.Countries))
	for i := range c.Countries {
		countries[i] = c.Countries[i].access()
	}
	found := c.Access.Check(countries)
	for _, f := range found {
		wrong.add("access."+f.Path, "%s", f.Text)
	}
	if len(wrong.list) > 0 {
		return
	}
	for _, account := range c.accounts() {
		c.checkAccessFits(wrong, account)
	}
}

// checkAccessFits checks that the policies of each role in an account fit IAM's limits.
func (c *Config) checkAccessFits(wrong *faults, account string) {
	_, rules := c.rulesIn(account)
	for i, p := range c.Access.People {
		path := fmt.Sprintf("access.people[%d]", i)
		if _, err := c.pack(account, p.Who, rules[p.Who]); err != nil {
			wrong.add(path+".may", "%v: split %s into several, for example one a group of countries, grant a stage instead of many feeds, %s", err, p.Who, raise)
		}
		if err := infra.CheckTrustFits(*c.Access.Trusted(p.Trust), account); err != nil {
			wrong.add(path+".trust", "%v: name fewer principals", err)
		}
	}
	if c.Access.Operators != nil {
		if _, err := c.pack(account, access.OperatorName, nil); err != nil {
			wrong.add("access.operators", "%v: put some countries into an account of their own, %s", err, raise)
		}
		if err := infra.CheckTrustFits(*c.Access.Trusted(c.Access.Operators.Trust), account); err != nil {
			wrong.add("access.operators.trust", "%v: name fewer principals", err)
		}
	}
}

const raise = "or have AWS raise the account's quota of managed policies per role, and write it as access.policiesPerRole"

// rulesIn are the countries of an account, and what each of the people may do in them by who and country.
func (c *Config) rulesIn(account string) ([]infra.Access, map[string]map[string][]access.Rule) {
	var there []infra.Access
	rules := map[string]map[string][]access.Rule{}
	for i := range c.Countries {
		country := &c.Countries[i]
		if country.Account != account {
			continue
		}
		there = append(there, infra.Access{Account: account, Region: country.Region, Stack: c.Stack, Country: country.Code, Polling: country.Driver == pollingDriver})
		for who, list := range c.rules(country) {
			if rules[who] == nil {
				rules[who] = map[string][]access.Rule{}
			}
			rules[who][country.Code] = list
		}
	}
	return there, rules
}

// pack says which managed policy of a role holds what in which country of an account.
func (c *Config) pack(account, who string, rules map[string][]access.Rule) (infra.Packed, error) {
	there, _ := c.rulesIn(account)
	most := c.Access.PoliciesPerRole
	if most == 0 {
		most = infra.DefaultRolePolicies
	}
	if who == access.OperatorName {
		return infra.PackOperators(there, most)
	}
	return infra.PackPerson(who, there, rules, most)
}

// accounts are the AWS accounts of the stack's countries, in the order of the countries.
func (c *Config) accounts() []string {
	var accounts []string
	seen := map[string]bool{}
	for i := range c.Countries {
		if account := c.Countries[i].Account; !seen[account] {
			seen[account] = true
			accounts = append(accounts, account)
		}
	}
	return accounts
}

// access is what the access table has to know of the country.
func (country *Country) access() access.Country {
	known := access.Country{Code: country.Code}
	for _, f := range country.Feeds {
		known.Feeds = append(known.Feeds, f.Name)
		if f.Contract != nil && f.Contract.ClientSide {
			known.Sealed = append(known.Sealed, f.Name)
		}
	}
	return known
}

// rules are what each of the people may do in a country; who may nothing there is not among them.
func (c *Config) rules(country *Country) map[string][]access.Rule {
	all := map[string][]access.Rule{}
	for _, p := range c.Access.People {
		if rules := p.Rules(country.access()); len(rules) > 0 {
			all[p.Who] = rules
		}
	}
	return all
}

// newPeople creates the roles of the access table in an account; nil when nobody may anything there.
func newPeople(ctx *pulumi.Context, config *Config, account string, at *place) (*infra.People, error) {
	args := &infra.PeopleArgs{Stack: config.Stack, Account: account, People: map[string]access.Trust{}, Tags: config.tags(sharedCountry)}
	for i := range config.Countries {
		if config.Countries[i].Account != account {
			continue
		}
		for _, p := range config.Access.People {
			if len(p.Rules(config.Countries[i].access())) > 0 {
				args.People[p.Who] = *config.Access.Trusted(p.Trust)
			}
		}
	}
	if o := config.Access.Operators; o != nil {
		args.Operators = config.Access.Trusted(o.Trust)
	}
	if len(args.People) == 0 && args.Operators == nil {
		return nil, nil
	}
	return infra.NewPeople(ctx, "people-"+account, args, pulumi.Provider(at.provider))
}

// newPermissions creates what the people of an account may do in those of its countries that could be composed, and the lines of the table
// that it comes of. Where a country could not be composed, both stay as they were.
func newPermissions(ctx *pulumi.Context, config *Config, account string, people *infra.People, composed map[string]infra.Access, reached providers) error {
	if people == nil {
		return nil
	}
	there, rules := config.rulesIn(account)
	args := &infra.PermissionsArgs{Stack: config.Stack, People: people, Rules: rules, Packed: map[string]infra.Packed{}, Countries: composed, Tags: config.tags(sharedCountry)}
	for _, who := range slices.Sorted(maps.Keys(people.ARNs)) {
		packed, err := config.pack(account, who, rules[who])
		if err != nil {
			return fmt.Errorf("%s: %w", who, err)
		}
		args.Packed[who] = packed
	}
	permissions, err := infra.NewPermissions(ctx, "permissions-"+account, args, pulumi.Parent(people))
	if err != nil {
		return err
	}
	for _, a := range there {
		if _, ok := composed[a.Country]; !ok {
			return nil // what is told of the table is what its policies say
		}
	}
	i := slices.IndexFunc(config.Countries, func(c Country) bool { return c.Account == account })
	home, err := reached.home(ctx, config, &config.Countries[i])
	if err != nil {
		return err
	}
	_, err = infra.NewAccessTable(ctx, "accesstable-"+account, &infra.AccessTableArgs{Stack: config.Stack, People: config.peopleOf(people), Tags: config.tags(sharedCountry)},
		pulumi.Parent(people), pulumi.Provider(home), pulumi.DependsOn([]pulumi.Resource{permissions})) // so the table says nothing that its policies do not say yet
	return err
}

// peopleOf are those of the table who have roles, the operators' among them.
func (c *Config) peopleOf(people *infra.People) []access.Person {
	var list []access.Person
	for _, p := range c.Access.People {
		if _, ok := people.ARNs[p.Who]; ok {
			list = append(list, p)
		}
	}
	if _, ok := people.ARNs[access.OperatorName]; ok {
		list = append(list, access.Person{Who: access.OperatorName})
	}
	return list
}
