package access

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Fault is something wrong with a table; Path is where, below sluice:access.
type Fault struct{ Path, Text string }

// OperatorName is whom `sluice access` knows the operators' role by; nobody else can have it.
const OperatorName = "operator"

var (
	whoForm     = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}[a-z0-9]$`)
	keyForm     = regexp.MustCompile(`^[A-Za-z0-9/_.=-]+$`)
	accountForm = regexp.MustCompile(`^[0-9]{12}$`)
	samlForm    = regexp.MustCompile(`^arn:aws:iam::[0-9]{12}:saml-provider/[A-Za-z0-9._-]{1,128}$`)
	oidcForm    = regexp.MustCompile(`^arn:aws:iam::[0-9]{12}:oidc-provider/[A-Za-z0-9._/-]{1,255}$`)
	someoneForm = regexp.MustCompile(`^arn:aws:iam::([0-9]{12}):(root|(user|role)/[A-Za-z0-9+=,.@_/-]{1,512})$`)
)

// Check finds everything that is wrong with a table, for a stack of these countries. That policies fit their limits is left to
// who renders them.
func (t Table) Check(countries []Country) []Fault {
	c := checker{countries: countries}
	if t.Trust != nil {
		c.trust("trust", t.Trust)
	}
	if t.Operators != nil {
		c.trusted("operators", t.Operators.Trust, t.Trust)
	}
	seen := map[string]int{}
	for i, p := range t.People {
		path := fmt.Sprintf("people[%d]", i)
		first, twice := seen[p.Who]
		switch {
		case !whoForm.MatchString(p.Who):
			c.fault(path+".who", "%q is part of the names of a role and a workgroup; take 2 to 32 lower-case letters, digits and hyphens, a letter first", p.Who)
		case p.Who == OperatorName:
			c.fault(path+".who", "%s is the role of operators, who see no data; choose another name", p.Who)
		case twice:
			c.fault(path+".who", "%s is people[%d] already; write all that one may do in one place", p.Who, first)
		default:
			seen[p.Who] = i
		}
		c.trusted(path, p.Trust, t.Trust)
		if len(p.May) == 0 {
			c.fault(path+".may", "%s may do nothing; write what, or leave the entry out", p.Who)
		}
		for j, g := range p.May {
			c.grant(fmt.Sprintf("%s.may[%d]", path, j), g)
		}
	}
	return c.faults
}

type checker struct {
	countries []Country
	faults    []Fault
}

func (c *checker) fault(path, format string, args ...any) {
	c.faults = append(c.faults, Fault{path, fmt.Sprintf(format, args...)})
}

func (c *checker) grant(path string, g Grant) {
	known := slices.ContainsFunc(c.countries, func(country Country) bool { return g.Country == All || g.Country == country.Code })
	if !known {
		c.fault(path+".country", "%q is no country of this stack; there is also %s", g.Country, All)
	}
	if !slices.Contains(Stages, g.Stage) {
		c.fault(path+".stage", "%q is no stage; there are %s", g.Stage, strings.Join(Stages, ", "))
	}
	if g.Feed != "" && known && !slices.ContainsFunc(c.countries, func(country Country) bool {
		return (g.Country == All || g.Country == country.Code) && slices.Contains(country.Feeds, g.Feed)
	}) {
		c.fault(path+".feed", "%q is no feed there", g.Feed)
	}
	if g.Feed != "" && g.Prefix != "" {
		c.fault(path+".prefix", "a feed is a prefix already; name one of them")
	}
	if g.Prefix != "" {
		if reason := badPrefix(g.Prefix); reason != "" {
			c.fault(path+".prefix", "%q %s", g.Prefix, reason)
		}
	}
	c.verbs(path, g)
}

func (c *checker) verbs(path string, g Grant) {
	if len(g.Verbs) == 0 {
		c.fault(path+".verbs", "none; there are %s", verbNames())
	}
	for i, v := range g.Verbs {
		at := fmt.Sprintf("%s.verbs[%d]", path, i)
		switch {
		case !slices.Contains(Verbs, v):
			c.fault(at, "%q is no verb; there are %s", v, verbNames())
		case slices.Index(g.Verbs, v) < i:
			c.fault(at, "%s is there already", v)
		case (v == Write || v == Delete) && g.Stage != Landing:
			c.fault(at, "only jobs %s in stage %s: its tables would not fit their files any more", v, g.Stage)
		case v == Query && g.Prefix != "":
			c.fault(at, "a table is asked as a whole; name a feed instead of a prefix, or no %s", v)
		}
	}
}

// badPrefix says why a prefix cannot be taken. Only what means the same to S3, to IAM and to a reader is: no wildcard, no policy
// variable, no encoding, and no path that some tool would resolve to another one.
func badPrefix(prefix string) string {
	for _, forbidden := range []struct{ text, reason string }{
		{"*", "has a wildcard; a prefix is meant letter by letter, and covers all that begins with it"},
		{"?", "has a wildcard; a prefix is meant letter by letter"},
		{"$", "has a policy variable; a prefix is meant letter by letter"},
		{"%", "is percent-encoded; write the key as it is"},
		{`\`, "has a backslash; folders are separated by /"},
	} {
		if strings.Contains(prefix, forbidden.text) {
			return forbidden.reason
		}
	}
	if !keyForm.MatchString(prefix) {
		return "has a character other than letters, digits and / _ . = -"
	}
	if strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") {
		return "has an empty folder name; keys begin with a feed"
	}
	for _, folder := range strings.Split(prefix, "/") {
		if folder == "." || folder == ".." {
			return "has a folder " + folder + ", which some tools resolve and S3 does not"
		}
	}
	if len(prefix) > 512 {
		return "is longer than 512 characters"
	}
	return ""
}

func (c *checker) trusted(path string, own, table *Trust) {
	switch {
	case own != nil:
		c.trust(path+".trust", own)
	case table == nil:
		c.fault(path+".trust", "nobody could take the role; name an identity provider (saml, oidc) or an account, here or for the whole table")
	}
}

func (c *checker) trust(path string, t *Trust) {
	ways := 0
	for _, way := range []string{t.SAML, t.OIDC, t.Account} {
		if way != "" {
			ways++
		}
	}
	if ways != 1 {
		c.fault(path, "name exactly one of saml, oidc and account")
		return
	}
	form := func(field, value string, form *regexp.Regexp, example string) {
		if value != "" && !form.MatchString(value) {
			c.fault(path+"."+field, "%q is not of the form %s", value, example)
		}
	}
	form("saml", t.SAML, samlForm, "arn:aws:iam::111122223333:saml-provider/staff")
	form("oidc", t.OIDC, oidcForm, "arn:aws:iam::111122223333:oidc-provider/login.example.com")
	form("account", t.Account, accountForm, `"111122223333"`)
	if t.OIDC != "" {
		for _, needed := range []struct{ field, value string }{{"audience", t.Audience}, {"subject", t.Subject}} {
			if reason := badClaim(needed.value); reason != "" {
				c.fault(path+"."+needed.field, "%s", reason)
			}
		}
	} else if t.Audience != "" || t.Subject != "" {
		c.fault(path, "audience and subject belong to oidc")
	}
	if t.Account == "" && (len(t.Principals) > 0 || t.MFA) {
		c.fault(path, "principals and mfa belong to account")
	}
	for i, p := range t.Principals {
		at := fmt.Sprintf("%s.principals[%d]", path, i)
		if found := someoneForm.FindStringSubmatch(p); found == nil {
			c.fault(at, "%q is not of the form arn:aws:iam::111122223333:role/name, without wildcards", p)
		} else if found[1] != t.Account {
			c.fault(at, "%s is not of account %s", p, t.Account)
		}
	}
}

// badClaim says why a claim of a token cannot be demanded: an empty one would let every token of the provider in.
func badClaim(value string) string {
	switch {
	case value == "":
		return "missing: without it, every token of the provider could take the role"
	case strings.ContainsAny(value, "*?$"):
		return fmt.Sprintf("%q has a wildcard or a variable; name one exactly", value)
	}
	return ""
}

func verbNames() string {
	names := make([]string, len(Verbs))
	for i, v := range Verbs {
		names[i] = string(v)
	}
	return strings.Join(names, ", ")
}
