package infra

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/policies"
)

// What IAM takes; white space is not counted. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	maxManagedPolicy = 6144 // characters of a managed policy
	maxTrustPolicy   = 2048 // characters of a role's trust policy, by default

	// DefaultRolePolicies is how many managed policies a role can have, unless AWS raised the account's quota.
	DefaultRolePolicies = 10
)

// Permissions is what the people of one account may do: for each role, managed policies with the statements of every country of the
// account. A country that comes, changes or goes changes those that hold its statements, and nothing of another country.
type Permissions struct {
	pulumi.ResourceState
}

// PermissionsArgs is what Permissions are made of.
type PermissionsArgs struct {
	Stack     string                              // Stack is part of the policies' names.
	People    *People                             // People are the roles.
	Rules     map[string]map[string][]access.Rule // Rules are what each of the people may do, by who and country.
	Packed    map[string]Packed                   // Packed is which policy holds what of whom, by who; the operators' under access.OperatorName.
	Countries map[string]Access                   // Countries are those of the account that could be composed. A policy with something of another one stays as it is.
	Tags      map[string]string                   // Tags go on everything that takes tags.
}

// NewPermissions creates Permissions.
func NewPermissions(ctx *pulumi.Context, name string, args *PermissionsArgs, opts ...pulumi.ResourceOption) (*Permissions, error) {
	p := &Permissions{}
	if err := register(ctx, "sluice:security:Permissions", name, p, opts); err != nil {
		return nil, err
	}
	for _, who := range sortedNames(args.Packed) {
		role, physical := args.People.Roles[who], access.RoleName(args.Stack, who)
		documentIn := func(a Access, c policies.Country) policies.Document {
			return a.person(c, who, args.Rules[who][a.Country])
		}
		if who == access.OperatorName {
			role, physical = args.People.Operator, access.OperatorRoleName(args.Stack)
			documentIn = func(_ Access, c policies.Country) policies.Document { return policies.OperatorIn(c) }
		}
		for i, parts := range args.Packed[who] {
			if !composed(parts, args.Countries) {
				continue
			}
			number := "-" + strconv.Itoa(i+1)
			policy, err := iam.NewPolicy(ctx, name+"-"+who+number, &iam.PolicyArgs{Name: pulumi.String(physical + number),
				Policy: together(parts, args.Countries, documentIn), Tags: tagged(args.Tags)}, pulumi.Parent(p))
			if err != nil {
				return nil, err
			}
			if _, err := iam.NewRolePolicyAttachment(ctx, name+"-"+who+number, &iam.RolePolicyAttachmentArgs{Role: role, PolicyArn: policy.Arn}, pulumi.Parent(p)); err != nil {
				return nil, err
			}
		}
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{})
}

// composed tells whether there are parts, all of countries that are there.
func composed(parts []part, countries map[string]Access) bool {
	for _, p := range parts {
		if _, ok := countries[p.country]; !ok {
			return false
		}
	}
	return len(parts) > 0
}

// together renders the document of parts.
func together(parts []part, countries map[string]Access, documentIn func(Access, policies.Country) policies.Document) pulumi.StringOutput {
	made := make([]any, len(parts))
	for i, p := range parts {
		made[i] = countries[p.country].country(nil)
	}
	return pulumi.All(made...).ApplyT(func(made []any) (string, error) {
		documents := make([]policies.Document, len(parts))
		for i, p := range parts {
			documents[i] = p.of(documentIn(countries[p.country], made[i].(policies.Country)))
		}
		return policies.Join(documents...).JSON()
	}).(pulumi.StringOutput)
}

// Packed is which statements each of a role's managed policies holds, in the order of the policies' numbers; some may hold none.
type Packed [][]part

// part is the statements of a country's document from one to before another.
type part struct {
	country  string
	from, to int
}

func (p part) of(d policies.Document) policies.Document {
	return policies.New(d.Statement[p.from:p.to]...)
}

// PackPerson says which of at most this many managed policies holds what a person may do in which country. Countries are those of one
// account. Names that AWS will choose are counted as long as it chooses them.
func PackPerson(who string, countries []Access, rules map[string][]access.Rule, most int) (Packed, error) {
	documents := map[string]policies.Document{}
	for _, a := range countries {
		if len(rules[a.Country]) > 0 {
			documents[a.Country] = a.person(a.standIn(), who, rules[a.Country])
		}
	}
	return pack(documents, most)
}

// PackOperators does the same for the operators' role.
func PackOperators(countries []Access, most int) (Packed, error) {
	documents := map[string]policies.Document{}
	for _, a := range countries {
		documents[a.Country] = policies.OperatorIn(a.standIn())
	}
	return pack(documents, most)
}

// pack puts each country's statements into the policy that its code's hash names, or the next one with room for all of them. What fits
// whole nowhere is spread over what room there is. So where a country's statements are depends on other countries only when policies
// are full, and never on the order in which the countries are written; policies beyond the default quota are used last.
func pack(documents map[string]policies.Document, most int) (Packed, error) {
	packed, held := make(Packed, most), make([]policies.Document, most)
	for _, code := range sortedNames(documents) {
		whole := part{code, 0, len(documents[code].Statement)}
		order := preference(code, most)
		placed := false
		for _, n := range order {
			if placed = add(packed, held, n, whole, documents[code]); placed {
				break
			}
		}
		if placed {
			continue
		}
		left := whole
		for _, n := range order {
			for to := left.to; to > left.from; to-- {
				if add(packed, held, n, part{code, left.from, to}, documents[code]) {
					left.from = to
					break
				}
			}
		}
		if left.from < left.to {
			if s := documents[code].Statement[left.from]; length(policies.New(s)) > maxManagedPolicy {
				return nil, fmt.Errorf("its role's statement %s in %s would have %d characters, and IAM takes %d in a policy", s.Sid, code, length(policies.New(s)), maxManagedPolicy)
			}
			return nil, fmt.Errorf("its role would need more than %d managed policies of %d characters, which is what IAM takes: those of %d countries do not fit",
				most, maxManagedPolicy, len(documents))
		}
	}
	return packed, nil
}

// add puts a part of a document into a policy if it fits.
func add(packed Packed, held []policies.Document, n int, p part, d policies.Document) bool {
	joined := policies.Join(held[n], p.of(d))
	if length(joined) > maxManagedPolicy {
		return false
	}
	packed[n], held[n] = append(packed[n], p), joined
	return true
}

// preference is the order in which a country looks for room.
func preference(code string, most int) []int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(code)) // never fails
	order := make([]int, most)
	within := min(most, DefaultRolePolicies)
	for i := range order {
		if order[i] = i; i < within {
			order[i] = (int(hash.Sum32()) + i) % within
		}
	}
	return order
}

func length(d policies.Document) int {
	text, _ := d.JSON() // whoever deploys it is told if it cannot be rendered
	return len(text)
}

// CheckTrustFits says how much too long a role's trust policy would be.
func CheckTrustFits(trust access.Trust, account string) error {
	if got := length(policies.AssumedByPeople(trust, account)); got > maxTrustPolicy {
		return fmt.Errorf("its role's trust policy would have %d characters, and IAM takes %d", got, maxTrustPolicy)
	}
	return nil
}

// standIn is the country with names as long as those that it will have.
func (a Access) standIn() policies.Country {
	bucket := func(word string) string {
		return "arn:aws:s3:::sluice-" + a.Stack + "-" + a.Country + "-" + word + "-12345678"
	}
	named := func(service, kind, word string) string {
		return "arn:aws:" + service + ":" + a.Region + ":" + a.Account + ":" + kind + a.Country + "-" + word + "-1234567"
	}
	key := func(purpose string) string { // as different from other countries' keys as they will be
		return "arn:aws:kms:" + a.Region + ":" + a.Account + ":key/12345678-1234-1234-1234-123456789" + purpose + a.Country
	}
	return policies.Country{
		Account: a.Account, Region: a.Region, Stack: a.Stack, Code: a.Country, DataKeyARN: key("d"), StateKeyARN: key("s"), LogsKeyARN: key("l"),
		LandingARN: bucket("landing"), ValidatedARN: bucket("validated"), InvalidARN: bucket("invalid"), VersionedARN: bucket("versioned"),
		CuratedARN: bucket("curated"), ArtifactsARN: bucket("artifacts"), LogsARN: bucket("logs"),
		FeedsARN: named("dynamodb", "table/", "feeds"), JobsARN: named("dynamodb", "table/", "jobs"), RunsARN: named("dynamodb", "table/", "runs"),
		FilesARN: named("dynamodb", "table/", "files"), ProgressARN: named("dynamodb", "table/", "progress"),
		LandedARN: named("sqs", "", "landed"), TicketsARN: named("sqs", "", "tickets"), DeadLettersARN: named("sqs", "", "dead-letters"),
		PollingARN: a.pollingARN(),
	}
}
