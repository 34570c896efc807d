package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/discovery"
)

// accessRequest is what one `access` was asked.
type accessRequest struct {
	who, key             string
	country, stage, verb string
}

// permission is one answer: may somebody do a verb to a key, or to what a line of the access table covers; and which statement of the
// role's policies says so.
type permission struct {
	Who       string `json:"who"`
	Role      string `json:"role"`
	Country   string `json:"country"`
	Stage     string `json:"stage"`
	Key       string `json:"key"` // Key is the object's key, or the beginning of every key that the line covers.
	Verb      string `json:"verb"`
	Allowed   bool   `json:"allowed"`
	Statement string `json:"statement"` // Statement is the id of the statement; empty when none allows it.
}

func newAccessCommand(a *app) *cobra.Command {
	var r accessRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "access WHO [KEY]",
		Short: "Show what somebody may do, and which statement says so",
		Long: `Shows what a person or team of the access table may do, or what it may do to one object. KEY is an object's key, or s3://bucket/key.
Each answer names the statement (Sid) that allows it, in a policy that is attached to the role. A statement has the lines of the access table
in its name that it comes of: ReadLanding1and3 allows to read what the person's first and third line cover.

operator is the role of operators, who see state, logs and metrics of every country and data of none.

Operators, and those who deploy, may ask. The answer is about the table as it is deployed in the account that your AWS credentials are of.

With --verb the exit code answers, too: 0 when everything that was asked for is allowed, 3 when something is not.`,
		Example: `  sluice access analysts
  sluice access analysts flights/2013-01-01/flights.csv --country us --stage landing
  sluice access feeder s3://sluice-prod-us-landing-1a2b3c4d/flights/2013-01-01/flights.csv --verb write`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.running(func(ctx context.Context, args []string) error {
			r.who = args[0]
			if len(args) == 2 {
				r.key = args[1]
			}
			return a.access(ctx, r, asJSON)
		}),
	}
	cmd.Flags().StringVar(&r.country, "country", "", "only this country")
	cmd.Flags().StringVar(&r.stage, "stage", "", "only this stage")
	cmd.Flags().StringVar(&r.verb, "verb", "", "only this verb: list, read, write, delete or query")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) access(ctx context.Context, r accessRequest, asJSON bool) error {
	if r.stage != "" && !slices.Contains(access.Stages, r.stage) {
		return usagef("no stage %q; there are %s", r.stage, strings.Join(access.Stages, ", "))
	}
	if r.verb != "" && !slices.Contains(access.Verbs, access.Verb(r.verb)) {
		return usagef("no verb %q; there are list, read, write, delete, query", r.verb)
	}
	if r.key != "" && r.verb == string(access.Query) {
		return usagef("query is about tables; leave KEY out")
	}
	found, err := a.discover(ctx, a.stack)
	if err != nil {
		return err
	}
	if strings.HasPrefix(r.key, "s3://") {
		if err := r.locate(found); err != nil {
			return err
		}
	}
	codes, err := found.codes(r.country)
	if err != nil {
		return err
	}
	table, err := a.table(ctx, a.stack)
	if err != nil {
		return err
	}
	p, known := table[r.who]
	if !known {
		return usagef("nobody named %q in the access table; it has %s", r.who, listed(slices.Sorted(maps.Keys(table))))
	}
	list := []permission{}
	for _, code := range codes {
		granted, err := a.granted(ctx, p, found[code].Country)
		if err != nil {
			return err
		}
		list = append(list, r.answers(code, granted)...)
	}
	if err := a.printAccess(r, list, asJSON); err != nil {
		return err
	}
	refused := slices.ContainsFunc(list, func(p permission) bool { return !p.Allowed })
	if r.verb != "" && (refused || len(list) == 0) {
		return refusedf("the access table does not let %s %s that", r.who, r.verb)
	}
	return nil
}

// granted is what the access table lets somebody do in a country.
type granted struct {
	role  string // role is the ARN of the role to take; "" for who may nothing there.
	rules []access.Rule
}

// granted works out what a person may do in a country from the lines of the table, and from the country's feeds where a line names one.
func (a *app) granted(ctx context.Context, p access.Person, c discovery.Country) (granted, error) {
	role := func(name string) string { return "arn:aws:iam::" + c.Account + ":role/" + name }
	if p.Who == access.OperatorName {
		return granted{role: role(access.OperatorRoleName(c.Stack))}, nil
	}
	here := access.Country{Code: c.Country}
	if slices.ContainsFunc(p.May, func(g access.Grant) bool { return g.Feed != "" }) {
		at, err := a.connect(ctx, c)
		if err != nil {
			return granted{}, err
		}
		feeds, err := at.ledger.Feeds(ctx)
		if err != nil {
			return granted{}, err
		}
		here.Feeds = slices.Sorted(maps.Keys(feeds))
	}
	rules := p.Rules(here)
	if len(rules) == 0 {
		return granted{}, nil
	}
	return granted{role(access.RoleName(c.Stack, p.Who)), rules}, nil
}

// locate finds country and stage of the bucket in s3://bucket/key.
func (r *accessRequest) locate(found deployed) error {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.key, "s3://"), "/")
	for code, f := range found {
		buckets := f.Country.Buckets
		for stage, name := range map[string]string{"landing": buckets.Landing, "validated": buckets.Validated, "invalid": buckets.Invalid,
			"versioned": buckets.Versioned, "curated": buckets.Curated} {
			if name == bucket && (r.country == "" || r.country == code) && (r.stage == "" || r.stage == stage) {
				r.country, r.stage, r.key = code, stage, key
				return nil
			}
		}
	}
	return usagef("%s is no bucket of a stage here", bucket)
}

// answers are what a person may do in one country: line by line of the table, or verb by verb for one key.
func (r accessRequest) answers(code string, granted granted) []permission {
	var list []permission
	one := func(stage, key string, verb access.Verb, sid string) {
		if (r.verb == "" || r.verb == string(verb)) && (r.stage == "" || r.stage == stage) {
			list = append(list, permission{Who: r.who, Role: granted.role, Country: code, Stage: stage, Key: key, Verb: string(verb), Allowed: sid != "", Statement: sid})
		}
	}
	if r.key == "" {
		for _, rule := range granted.rules {
			for _, verb := range rule.Verbs {
				one(rule.Stage, rule.Prefix, verb, access.Sid(string(verb), access.With(granted.rules, rule.Stage, verb)))
			}
		}
		return list
	}
	for _, stage := range access.Stages {
		for _, verb := range access.Verbs {
			if verb != access.Query {
				sid, _ := access.Decide(granted.rules, stage, r.key, verb)
				one(stage, r.key, verb, sid)
			}
		}
	}
	return list
}

func (a *app) printAccess(r accessRequest, list []permission, asJSON bool) error {
	switch {
	case asJSON:
		return printJSON(a.out, list)
	case r.who == access.OperatorName && r.key == "":
		fprintln(a.out, "operator sees state, logs and metrics of every country, and data of none")
		return nil
	case len(list) == 0:
		fprintln(a.out, "nothing")
		return nil
	}
	t := newTable("country", "stage", "key", "verb", "allowed", "statement")
	for _, p := range list {
		key, allowed := p.Key, "no"
		if r.key == "" {
			key += "*"
		}
		if p.Allowed {
			allowed = "yes"
		}
		t.add(p.Country, p.Stage, key, p.Verb, allowed, p.Statement)
	}
	t.print(a.out)
	return nil
}
