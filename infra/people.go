package infra

import (
	"fmt"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ssm"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/policies"
)

// PeopleArgs is what People are made of.
type PeopleArgs struct {
	Stack     string                  // Stack is part of the roles' names.
	Account   string                  // Account is the AWS account that the roles are in.
	People    map[string]access.Trust // People are those who may do something in a country of the account, with who may take their role.
	Operators *access.Trust           // Operators says who may take the operators' role; there is none without it.
	Tags      map[string]string       // Tags go on everything that takes tags.
}

// People is the roles of the access table in one account: one for each person or team, one for operators. What they may do in countries
// their policies say (Permissions), so that one session sees all countries that its role has, and no country knows of another.
type People struct {
	pulumi.ResourceState

	Roles    map[string]pulumi.StringOutput // Roles are the names of the roles by who.
	ARNs     map[string]pulumi.StringOutput // ARNs are the ARNs of the same roles, and of the operators' one.
	Operator pulumi.StringOutput            // Operator is the name of the operators' role; unset when there is none.
}

// NewPeople creates People.
func NewPeople(ctx *pulumi.Context, name string, args *PeopleArgs, opts ...pulumi.ResourceOption) (*People, error) {
	p := &People{Roles: map[string]pulumi.StringOutput{}, ARNs: map[string]pulumi.StringOutput{}}
	if err := register(ctx, "sluice:security:People", name, p, opts); err != nil {
		return nil, err
	}
	for _, who := range sortedNames(args.People) {
		role, err := p.role(ctx, name+"-"+who, access.RoleName(args.Stack, who), "What "+who+" may do, by the access table", args.People[who], args)
		if err != nil {
			return nil, err
		}
		if err := p.may(ctx, name+"-"+who, role, policies.FindCountries(args.Account, args.Stack)); err != nil {
			return nil, err
		}
		p.Roles[who], p.ARNs[who] = role.Name, role.Arn
	}
	if args.Operators != nil {
		role, err := p.role(ctx, name+"-"+access.OperatorName, access.OperatorRoleName(args.Stack), "Sees state, logs and metrics of every country, and data of none", *args.Operators, args)
		if err != nil {
			return nil, err
		}
		if err := p.may(ctx, name+"-"+access.OperatorName, role, policies.Operator(args.Account, args.Stack)); err != nil {
			return nil, err
		}
		p.Operator, p.ARNs[access.OperatorName] = role.Name, role.Arn
	}
	outputs := pulumi.Map{}
	for who, arn := range p.ARNs {
		outputs[who] = arn
	}
	return p, ctx.RegisterResourceOutputs(p, outputs)
}

// may lets a role do what is about the whole stack, whatever countries it has.
func (p *People) may(ctx *pulumi.Context, name string, role *iam.Role, document policies.Document) error {
	policy, err := document.JSON()
	if err != nil {
		return err
	}
	_, err = iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Name: pulumi.String("stack"), Role: role.Name, Policy: pulumi.String(policy)}, pulumi.Parent(p))
	return err
}

func (p *People) role(ctx *pulumi.Context, name, physical, description string, trust access.Trust, args *PeopleArgs) (*iam.Role, error) {
	document, err := policies.AssumedByPeople(trust, args.Account).JSON()
	if err != nil {
		return nil, err
	}
	return iam.NewRole(ctx, name, &iam.RoleArgs{Name: pulumi.String(physical), Description: pulumi.String(description),
		AssumeRolePolicy: pulumi.String(document), Tags: tagged(args.Tags)}, pulumi.Parent(p))
}

// AccessTableArgs is what an AccessTable is made of.
type AccessTableArgs struct {
	Stack  string            // Stack is part of the parameters' names.
	People []access.Person   // People are those who have a role in the account, with their lines; operators have none.
	Tags   map[string]string // Tags go on everything that takes tags.
}

// AccessTable is what is deployed of the access table in an account, for who asks who may do what: its lines in parameters of AWS Systems
// Manager, as many a person as they need.
type AccessTable struct {
	pulumi.ResourceState
}

// NewAccessTable creates an AccessTable.
func NewAccessTable(ctx *pulumi.Context, name string, args *AccessTableArgs, opts ...pulumi.ResourceOption) (*AccessTable, error) {
	t := &AccessTable{}
	if err := register(ctx, "sluice:security:AccessTable", name, t, opts); err != nil {
		return nil, err
	}
	for _, p := range args.People {
		values, err := access.Store(args.Stack, p)
		if err != nil {
			return nil, err
		}
		for _, physical := range sortedNames(values) {
			child := name + "-" + strings.ReplaceAll(strings.TrimPrefix(physical, access.Path(args.Stack)+"/"), "/", "-")
			if _, err := ssm.NewParameter(ctx, child, &ssm.ParameterArgs{Name: pulumi.String(physical), Type: ssm.ParameterTypeString, Tier: pulumi.String("Standard"),
				Description: pulumi.String("Lines of the access table of " + p.Who), Value: pulumi.String(values[physical]), Tags: tagged(args.Tags)}, pulumi.Parent(t)); err != nil {
				return nil, err
			}
		}
	}
	return t, ctx.RegisterResourceOutputs(t, pulumi.Map{})
}

// GrantsArgs is what Grants are made of.
type GrantsArgs struct {
	Rules         map[string][]access.Rule // Rules are what each of the people may do in the country; who may nothing is not in it.
	ResultsBucket pulumi.StringInput       // ResultsBucket is where the results of queries go.
	CatalogName   string                   // CatalogName begins the names of the people's workgroups, for example "sluice_prod_us".
	KeyARN        pulumi.StringInput       // KeyARN is the key that results of queries are encrypted with.
	ScanGB        int                      // ScanGB ends a query that reads more gigabytes, 100 by default.
	Tags          map[string]string        // Tags go on everything that takes tags.
}

// Grants is what a country has for people who may do something in it: a workgroup for each of those who may query. Their rights are in
// Permissions.
type Grants struct {
	pulumi.ResourceState

	Workgroups map[string]pulumi.StringOutput // Workgroups are the names of workgroups by who.
}

// NewGrants creates Grants.
func NewGrants(ctx *pulumi.Context, name string, args *GrantsArgs, opts ...pulumi.ResourceOption) (*Grants, error) {
	g := &Grants{Workgroups: map[string]pulumi.StringOutput{}}
	if err := register(ctx, "sluice:security:Grants", name, g, opts); err != nil {
		return nil, err
	}
	for _, who := range sortedNames(args.Rules) {
		if access.MayQuery(args.Rules[who]) {
			if err := g.workgroup(ctx, name+"-"+who, who, args); err != nil {
				return nil, err
			}
		}
	}
	outputs := pulumi.Map{}
	for who, workgroup := range g.Workgroups {
		outputs[who] = workgroup
	}
	return g, ctx.RegisterResourceOutputs(g, outputs)
}

// workgroup creates the workgroup of a person, whose results nobody else may read.
func (g *Grants) workgroup(ctx *pulumi.Context, name, who string, args *GrantsArgs) error {
	group, err := newWorkgroup(ctx, name, &workgroupArgs{name: access.WorkgroupName(args.CatalogName, who),
		results: pulumi.Sprintf("s3://%s/%s", args.ResultsBucket, policies.ResultsPrefix(who)), keyARN: args.KeyARN, scanGB: args.ScanGB, tags: args.Tags}, pulumi.Parent(g))
	if err != nil {
		return fmt.Errorf("workgroup of %s: %w", who, err)
	}
	g.Workgroups[who] = group.Name
	return nil
}
