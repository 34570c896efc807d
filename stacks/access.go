package main

import (
	"fmt"

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
	var there []infra.Access
	for i := range c.Countries {
		if country := &c.Countries[i]; country.Account == account {
			there = append(there, infra.Access{Account: account, Region: country.Region, Stack: c.Stack, Country: country.Code})
		}
	}
	for i, p := range c.Access.People {
		path, rules := fmt.Sprintf("access.people[%d]", i), map[string][]access.Rule{}
		for j := range c.Countries {
			rules[c.Countries[j].Code] = p.Rules(c.Countries[j].access())
		}
		if err := infra.CheckGrantsFit(c.Stack, p.Who, there, rules); err != nil {
			wrong.add(path+".may", "%v: split %s into several, for example one a group of countries, or grant a stage instead of many feeds", err, p.Who)
		}
		if err := infra.CheckTrustFits(*c.Access.Trusted(p.Trust), account); err != nil {
			wrong.add(path+".trust", "%v: name fewer principals", err)
		}
	}
	if c.Access.Operators != nil {
		if err := infra.CheckOperatorFits(c.Stack, account, there); err != nil {
			wrong.add("access.operators", "%v: put some countries into an account of their own", err)
		}
		if err := infra.CheckTrustFits(*c.Access.Trusted(c.Access.Operators.Trust), account); err != nil {
			wrong.add("access.operators.trust", "%v: name fewer principals", err)
		}
	}
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

// accessOutputs are what the table says of a country, for who asks who may do what.
func accessOutputs(people *infra.People, grants *infra.Grants, rules map[string][]access.Rule) pulumi.Map {
	outputs := pulumi.Map{}
	for who, rules := range rules {
		entry := pulumi.Map{"role": people.ARNs[who], "rules": ruleOutputs(rules)}
		if workgroup, ok := grants.Workgroups[who]; ok {
			entry["workgroup"] = workgroup
		}
		outputs[who] = entry
	}
	if arn, ok := people.ARNs[access.OperatorName]; ok {
		outputs[access.OperatorName] = pulumi.Map{"role": arn, "rules": pulumi.Array{}}
	}
	return outputs
}

func ruleOutputs(rules []access.Rule) pulumi.Array {
	list := pulumi.Array{}
	for _, r := range rules {
		verbs := pulumi.StringArray{}
		for _, v := range r.Verbs {
			verbs = append(verbs, pulumi.String(v))
		}
		list = append(list, pulumi.Map{"line": pulumi.Int(r.Line), "stage": pulumi.String(r.Stage), "feed": pulumi.String(r.Feed),
			"prefix": pulumi.String(r.Prefix), "verbs": verbs, "sealed": pulumi.Bool(r.Sealed)})
	}
	return list
}
