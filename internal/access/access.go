// Package access holds the access table of a stack: which people and teams may do what to which files and tables.
//
// It reads a table, finds what is wrong with it, and answers questions from the table alone, the way a person would who reads it. What
// IAM is told is left to package policies; that both say the same is proven by test-access.
package access

import (
	"slices"
	"strconv"
	"strings"
)

// All stands for every country of the stack.
const All = "all"

// Landing is the stage whose files come from outside; in the others only jobs write.
const Landing = "landing"

// Stages are those that a grant can name, each with a bucket and a database.
var Stages = []string{Landing, "validated", "invalid", "versioned", "curated"}

// Verb is something that one may do.
type Verb string

// The verbs. Query asks with SQL, and needs to list and read what it asks: whoever may query may do that, too.
const (
	List   Verb = "list"
	Read   Verb = "read"
	Write  Verb = "write"
	Delete Verb = "delete"
	Query  Verb = "query"
)

// Verbs are all verbs, in the order in which they are told.
var Verbs = []Verb{List, Read, Write, Delete, Query}

// Table is the access table as written in a stack's YAML, sluice:access.
type Table struct {
	Trust     *Trust     `json:"trust"`     // Trust says who may take the roles of all that name no trust of their own.
	Operators *Operators `json:"operators"` // Operators see state, logs and metrics of every country, and data of none; no such role without it.
	People    []Person   `json:"people"`

	// PoliciesPerRole is the account's quota of managed policies per role: 10 by default, 20 where AWS raised it as far as it does.
	PoliciesPerRole int `json:"policiesPerRole"`
}

// Operators are those who see what is going on.
type Operators struct {
	Trust *Trust `json:"trust"` // Trust is the table's by default.
}

// Person is somebody, or a team, with a role of its own.
type Person struct {
	Who   string  `json:"who"`
	Trust *Trust  `json:"trust"` // Trust is the table's by default.
	May   []Grant `json:"may"`
}

// Grant is a line of the table. Without Feed and Prefix it is about the whole stage.
type Grant struct {
	Country string `json:"country"` // Country is a code, or All.
	Stage   string `json:"stage"`
	Feed    string `json:"feed"`   // Feed narrows the line to the files and the table of one feed.
	Prefix  string `json:"prefix"` // Prefix narrows it to the keys that begin with it, letter by letter.
	Verbs   []Verb `json:"verbs"`
}

// Trust says who may take a role. Exactly one of SAML, OIDC and Account is set.
type Trust struct {
	SAML string `json:"saml"` // SAML is the ARN of an identity provider; which of its users takes which role is its own to say.

	OIDC     string `json:"oidc"`     // OIDC is the ARN of an identity provider.
	Audience string `json:"audience"` // Audience is what the provider's tokens are made out to.
	Subject  string `json:"subject"`  // Subject is whom the provider's tokens are about.

	Account    string   `json:"account"`    // Account is an AWS account whose identities take the role.
	Principals []string `json:"principals"` // Principals are the ARNs of those who may; without any, the account's own policies decide.
	MFA        bool     `json:"mfa"`        // MFA demands a second factor.
}

// Rule is a grant as it holds in one country.
type Rule struct {
	Line   int    `json:"line"`           // Line is the grant's place in its person's list, from 1; ids of statements name it.
	Stage  string `json:"stage"`          //
	Feed   string `json:"feed,omitempty"` //
	Prefix string `json:"prefix"`         // Prefix begins every key that the rule is about, letter by letter.
	Verbs  []Verb `json:"verbs"`          // Verbs are sorted as Verbs are, with what they need.
	Sealed bool   `json:"sealed"`         // Sealed is set where files below the prefix are encrypted by their sender.
}

// Country is what the table has to know of a country.
type Country struct {
	Code   string
	Feeds  []string
	Sealed []string // Sealed are the feeds whose files are encrypted by their sender.
}

// Rules are what a person may do in a country; none when that is nothing.
func (p Person) Rules(country Country) []Rule {
	var rules []Rule
	for i, g := range p.May {
		if g.Country != country.Code && g.Country != All || g.Feed != "" && !slices.Contains(country.Feeds, g.Feed) {
			continue
		}
		r := Rule{Line: i + 1, Stage: g.Stage, Feed: g.Feed, Prefix: g.Prefix}
		if g.Feed != "" {
			r.Prefix = g.Feed + "/"
		}
		for _, v := range Verbs {
			needed := (v == List || v == Read) && slices.Contains(g.Verbs, Query)
			if needed || slices.Contains(g.Verbs, v) {
				r.Verbs = append(r.Verbs, v)
			}
		}
		r.Sealed = g.Stage == Landing && slices.ContainsFunc(country.Sealed, func(feed string) bool {
			return strings.HasPrefix(feed+"/", r.Prefix) || strings.HasPrefix(r.Prefix, feed+"/")
		})
		rules = append(rules, r)
	}
	return rules
}

// With are the rules about a stage that have a verb.
func With(rules []Rule, stage string, verb Verb) []Rule {
	var with []Rule
	for _, r := range rules {
		if r.Stage == stage && slices.Contains(r.Verbs, verb) {
			with = append(with, r)
		}
	}
	return with
}

// Sid is the id of the statement that all of some rules about one stage make together: what it allows, where, and the lines of the table
// that say so, for example ReadLanding1and3.
func Sid(does string, rules []Rule) string {
	lines := make([]string, len(rules))
	for i, r := range rules {
		lines[i] = strconv.Itoa(r.Line)
	}
	return title(does) + title(rules[0].Stage) + strings.Join(lines, "and")
}

// Decide tells whether rules let a verb happen to a key of a stage, and the id of the statement that does. To list a key is to list
// what begins with it. Query is about tables, and never about a key.
func Decide(rules []Rule, stage, key string, verb Verb) (sid string, allowed bool) {
	if verb == Query {
		return "", false
	}
	return decide(With(rules, stage, verb), verb, func(r Rule) bool { return strings.HasPrefix(key, r.Prefix) })
}

// DecideQuery tells whether rules let somebody ask the table of a feed in a stage with SQL, and the id of the statement that does.
func DecideQuery(rules []Rule, stage, feed string) (sid string, allowed bool) {
	return decide(With(rules, stage, Query), Query, func(r Rule) bool { return r.Feed == "" || r.Feed == feed })
}

func decide(with []Rule, verb Verb, covers func(Rule) bool) (sid string, allowed bool) {
	if !slices.ContainsFunc(with, covers) {
		return "", false
	}
	return Sid(string(verb), with), true
}

// Trusted is a trust of one's own, or else the table's.
func (t Table) Trusted(own *Trust) *Trust {
	if own != nil {
		return own
	}
	return t.Trust
}

// MayQuery tells whether rules let somebody ask any table.
func MayQuery(rules []Rule) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return slices.Contains(r.Verbs, Query) })
}

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }
