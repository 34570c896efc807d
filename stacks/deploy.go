package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/ec2"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/discovery"
)

// artifacts are what is built during a deployment, the same for every country.
type artifacts struct {
	root      string            // root is the folder of the project.
	functions map[string]string // functions are the packages' paths by folder.
	jobs      string            // jobs is the path of the packed jobs.
}

// place is where a country can be: an AWS account and region, reached through a provider of its own.
type place struct {
	provider pulumi.ProviderResource
	home     pulumi.ProviderResource // home reaches the environment's region in the same account; nil where this is there.
	zones    []string                // zones are the availability zones that networks there span.
	missing  map[string][]string     // missing are those of them that have not an instance type, by type.
	err      error                   // err is why no country can be there.
}

// team is the people of an account, or why there are none.
type team struct {
	people *infra.People
	err    error
}

// Deploy builds what is deployed, and deploys every country of the configuration.
func Deploy(ctx *pulumi.Context, config *Config) error {
	built, err := build(ctx, config)
	if err != nil {
		return err
	}
	before := lastOutputs(ctx)
	outputs, err := deploy(ctx, config, built)
	ctx.Export(countriesOutput, told(ctx, config, outputs, before))
	return err
}

// deploy deploys every country, and returns the outputs of those that could be composed, by code.
func deploy(ctx *pulumi.Context, config *Config, built artifacts) (pulumi.Map, error) {
	google, err := gcp.NewProvider(ctx, "google", &gcp.ProviderArgs{Project: pulumi.String(config.Google.Project)})
	if err != nil {
		return pulumi.Map{}, err
	}
	reached := providers{}
	places := map[string]*place{}
	people := map[string]team{}
	var faults []error
	if err := newShared(ctx, config, places, reached); err != nil {
		faults = append(faults, err)
	}
	outputs, composed := pulumi.Map{}, map[string]infra.Access{}
	for i := range config.Countries {
		country := &config.Countries[i]
		deployed, err := deployCountry(ctx, config, country, built, places, reached, people, google)
		if err != nil {
			// The others go on: Pulumi deploys what they registered before it reports this, and deletes nothing.
			faults = append(faults, fmt.Errorf("country %q: %w", country.Code, err))
			continue
		}
		outputs[country.Code], composed[country.Code] = deployed.Outputs, deployed.Access
	}
	for _, account := range config.accounts() {
		if err := newPermissions(ctx, config, account, people[account].people, composed, reached); err != nil {
			faults = append(faults, fmt.Errorf("access table in account %s: %w", account, err))
		}
	}
	return outputs, errors.Join(faults...)
}

// countriesOutput is the stack's output: what people and scripts find the parts of each country by, by code.
const countriesOutput = "countries"

// lastOutputs are the outputs of each country at the end of the last deployment, by code. Previews, in which nothing fails, do without.
func lastOutputs(ctx *pulumi.Context) map[string]any {
	if ctx.DryRun() {
		return nil
	}
	type args struct {
		Name string `pulumi:"name"`
	}
	var read struct {
		Outputs map[string]any `pulumi:"outputs"`
	}
	// The function behind StackReference; that itself would be one more resource.
	name := ctx.Organization() + "/" + ctx.Project() + "/" + ctx.Stack()
	if err := ctx.Invoke("pulumi:pulumi:readStackOutputs", &args{name}, &read); err != nil {
		_ = ctx.Log.Warn(fmt.Sprintf("the outputs of the last deployment: %v; a country that cannot be deployed now will have none", err), nil) // it is told, or nobody listens
		return nil
	}
	countries, _ := read.Outputs[countriesOutput].(map[string]any) // nothing, before the first
	return countries
}

// told are the outputs of each country: of one that could not be deployed those of before, if there were any. With --continue-on-error
// the program goes on when a resource fails, and is given empty text for what AWS would have said of it and of all that needs it.
func told(ctx *pulumi.Context, config *Config, now pulumi.Map, before map[string]any) pulumi.MapOutput {
	if ctx.DryRun() {
		return now.ToMapOutput() // what is not known yet of one country would hide all others
	}
	return now.ToMapOutput().ApplyT(func(now map[string]any) map[string]any {
		all := map[string]any{}
		for _, country := range config.Countries {
			code := country.Code
			if outputs, composed := now[code]; composed && !hollow(outputs) {
				all[code] = outputs
			} else if outputs, there := before[code]; there {
				all[code] = outputs
			}
		}
		return all
	}).(pulumi.MapOutput)
}

// hollow tells whether something of a country's outputs is missing.
func hollow(outputs any) bool {
	fields, there := outputs.(map[string]any)
	return !there || discovery.Missing(fields) != ""
}

func deployCountry(ctx *pulumi.Context, config *Config, country *Country, built artifacts, places map[string]*place, reached providers, people map[string]team, google *gcp.Provider) (*DeployedCountry, error) {
	at, err := newPlace(ctx, config, country, places, reached)
	if err != nil {
		return nil, err
	}
	allowed, known := people[country.Account]
	if !known {
		allowed.people, allowed.err = newPeople(ctx, config, country.Account, at)
		people[country.Account] = allowed
	}
	if allowed.err != nil {
		return nil, fmt.Errorf("access table in account %s: %w", country.Account, allowed.err)
	}
	shared, err := sharedNetwork(ctx, config, country, reached)
	if err != nil {
		return nil, fmt.Errorf("shared network: %w", err)
	}
	return NewCountry(ctx, config, country, built, at, shared, allowed.people, google)
}

// build compiles the functions and packs the jobs.
func build(ctx *pulumi.Context, config *Config) (artifacts, error) {
	out := filepath.Join(ctx.RootDirectory(), "bin", "artifacts")
	functions, err := infra.BuildFunctions(ctx.Context(), infra.BuildArgs{
		Root: ctx.RootDirectory(), Folder: "lambdas", Names: infra.Functions, Architecture: config.Functions.Architecture, Out: out})
	if err != nil {
		return artifacts{}, err
	}
	jobs, err := infra.PackJobs(ctx.RootDirectory(), out)
	return artifacts{root: ctx.RootDirectory(), functions: functions, jobs: jobs}, err
}

// providers reach accounts and regions, by name: a provider is a process of hundreds of megabytes.
type providers map[string]*aws.Provider

// at is the provider of this name for an account and region, made for the first that needs it; roleARN is the role that it acts as.
func (p providers) at(ctx *pulumi.Context, stack, name, account, region, roleARN string) (*aws.Provider, error) {
	if known, ok := p[name]; ok {
		return known, nil
	}
	args := &aws.ProviderArgs{Region: pulumi.String(region), AllowedAccountIds: pulumi.StringArray{pulumi.String(account)}}
	if roleARN != "" {
		args.AssumeRole = &aws.ProviderAssumeRoleArgs{RoleArn: pulumi.String(roleARN), SessionName: pulumi.String("sluice-" + stack)}
	}
	provider, err := aws.NewProvider(ctx, name, args)
	p[name] = provider
	return provider, err
}

// home reaches the environment's region in a country's account: what an account has once is there, and what is to be found without knowing
// where a country is.
func (p providers) home(ctx *pulumi.Context, config *Config, country *Country) (*aws.Provider, error) {
	return p.at(ctx, config.Stack, "aws-"+country.Account+"-"+config.AWS.Region, country.Account, config.AWS.Region, country.AccountRoleARN)
}

// sharedNetwork is the network that a country's is peered with, nil where there is none.
func sharedNetwork(ctx *pulumi.Context, config *Config, country *Country, reached providers) (*infra.SharedNetwork, error) {
	given := country.Network.Shared
	if given == nil {
		return nil, nil
	}
	shared := &infra.SharedNetwork{VPCID: given.VPCID, CIDR: given.CIDR, Account: given.AccountID, Region: given.Region, RouteTableIDs: given.RouteTableIDs}
	if role, ok := given.reach(config, country); ok {
		name := "aws-" + given.AccountID + "-" + given.Region
		if given.RoleARN != "" {
			name += "-shared" // a role for this alone may do less than who deploys a country there
		}
		provider, err := reached.at(ctx, config.Stack, name, given.AccountID, given.Region, role)
		if err != nil {
			return nil, err
		}
		shared.Provider = provider
	}
	return shared, nil
}

// newPlace is the place of a country, looked up for the first that needs it.
func newPlace(ctx *pulumi.Context, config *Config, country *Country, places map[string]*place, reached providers) (*place, error) {
	name := "aws-" + country.Account + "-" + country.Region
	if known, ok := places[name]; ok {
		return known, known.err
	}
	at := &place{}
	places[name] = at
	if at.provider, at.zones, at.err = openPlace(ctx, config, country, name, reached); at.err == nil {
		at.missing, at.err = missingTypes(ctx, country.Region, at)
	}
	if at.err == nil && country.Region != config.AWS.Region {
		at.home, at.err = reached.home(ctx, config, country)
	}
	return at, at.err
}

func openPlace(ctx *pulumi.Context, config *Config, country *Country, name string, reached providers) (pulumi.ProviderResource, []string, error) {
	provider, err := reached.at(ctx, config.Stack, name, country.Account, country.Region, country.AccountRoleARN)
	if err != nil {
		return nil, nil, err
	}
	zones, err := aws.GetAvailabilityZones(ctx, &aws.GetAvailabilityZonesArgs{
		State:   pulumi.StringRef("available"),
		Filters: []aws.GetAvailabilityZonesFilter{{Name: "opt-in-status", Values: []string{"opt-in-not-required"}}}, // no local zones: few services are there
	}, pulumi.Provider(provider))
	if err != nil {
		return nil, nil, fmt.Errorf("availability zones of %s: %w", country.Region, err)
	}
	want := config.Network.Zones
	if want == 0 {
		want = 2
	}
	if len(zones.Names) < want {
		return nil, nil, fmt.Errorf("region %s has %d availability zones, network.zones is %d", country.Region, len(zones.Names), want)
	}
	return provider, wholeFirst(zones.Names, zones.ZoneIds, slices.Concat(sparseZones, config.Network.AvoidZones))[:want], nil
}

// missingTypes asks which of the types that clusters can be made of which zone has not.
func missingTypes(ctx *pulumi.Context, region string, at *place) (map[string][]string, error) {
	found, err := ec2.GetInstanceTypeOfferings(ctx, &ec2.GetInstanceTypeOfferingsArgs{
		LocationType: pulumi.StringRef("availability-zone"),
		Filters:      []ec2.GetInstanceTypeOfferingsFilter{{Name: "location", Values: at.zones}, {Name: "instance-type", Values: infra.AllInstanceTypes()}},
	}, pulumi.Provider(at.provider))
	if err != nil {
		return nil, fmt.Errorf("instance types that %s has: %w", region, err)
	}
	if len(found.InstanceTypes) != len(found.Locations) {
		return nil, fmt.Errorf("instance types that %s has: %d types at %d locations", region, len(found.InstanceTypes), len(found.Locations))
	}
	offered := make([]infra.Offering, len(found.InstanceTypes))
	for i, name := range found.InstanceTypes {
		offered[i] = infra.Offering{InstanceType: name, Zone: found.Locations[i]}
	}
	return infra.MissingTypes(offered, at.zones), nil
}

// sparseZones are the ids of old availability zones that AWS does not extend any more: endpoints of services, NAT gateways and newer
// machines are not there, and a deployment that wants one there is refused. An account's letter for such a zone may be any.
// https://docs.aws.amazon.com/vpc-lattice/latest/ug/quotas.html and
// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/endpoints-quotas.html name them.
var sparseZones = []string{"apne1-az3", "apne2-az2", "cac1-az3", "euw1-az4", "use1-az3", "usw1-az2"}

// wholeFirst puts the zones that are to be avoided last, and leaves the order otherwise.
func wholeFirst(names, ids, avoid []string) []string {
	whole, sparse := []string{}, []string{}
	for i, name := range names {
		if slices.Contains(avoid, ids[i]) {
			sparse = append(sparse, name)
		} else {
			whole = append(whole, name)
		}
	}
	return append(whole, sparse...)
}
