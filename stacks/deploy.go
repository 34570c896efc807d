package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws"
	"github.com/pulumi/pulumi-gcp/sdk/v7/go/gcp"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
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
	zones    []string // zones are the availability zones that networks there span.
	err      error    // err is why no country can be there.
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
	return deploy(ctx, config, built)
}

func deploy(ctx *pulumi.Context, config *Config, built artifacts) error {
	google, err := gcp.NewProvider(ctx, "google", &gcp.ProviderArgs{Project: pulumi.String(config.Google.Project)})
	if err != nil {
		return err
	}
	places := map[string]*place{}
	people := map[string]team{}
	var faults []error
	if err := newShared(ctx, config, places); err != nil {
		faults = append(faults, err)
	}
	outputs := pulumi.Map{}
	for i := range config.Countries {
		country := &config.Countries[i]
		deployed, err := deployCountry(ctx, config, country, built, places, people, google)
		if err != nil {
			// The others go on: Pulumi deploys what they registered before it reports this, and deletes nothing.
			faults = append(faults, fmt.Errorf("country %q: %w", country.Code, err))
			continue
		}
		outputs[country.Code] = deployed.Outputs
	}
	if len(faults) > 0 {
		return errors.Join(faults...) // without outputs, so that those of the last deployment stay
	}
	ctx.Export("countries", outputs)
	return nil
}

func deployCountry(ctx *pulumi.Context, config *Config, country *Country, built artifacts, places map[string]*place, people map[string]team, google *gcp.Provider) (*DeployedCountry, error) {
	at, err := newPlace(ctx, config, country, places)
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
	return NewCountry(ctx, config, country, built, at, allowed.people, google)
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

// newPlace is the place of a country, made for the first that needs it: a provider is a process of hundreds of megabytes.
func newPlace(ctx *pulumi.Context, config *Config, country *Country, places map[string]*place) (*place, error) {
	name := "aws-" + country.Account + "-" + country.Region
	if known, ok := places[name]; ok {
		return known, known.err
	}
	at := &place{}
	places[name] = at
	at.provider, at.zones, at.err = openPlace(ctx, config, country, name)
	return at, at.err
}

func openPlace(ctx *pulumi.Context, config *Config, country *Country, name string) (pulumi.ProviderResource, []string, error) {
	args := &aws.ProviderArgs{Region: pulumi.String(country.Region), AllowedAccountIds: pulumi.StringArray{pulumi.String(country.Account)}}
	if country.AccountRoleARN != "" {
		args.AssumeRole = &aws.ProviderAssumeRoleArgs{RoleArn: pulumi.String(country.AccountRoleARN), SessionName: pulumi.String("sluice-" + config.Stack)}
	}
	provider, err := aws.NewProvider(ctx, name, args)
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
	return provider, zones.Names[:want], nil
}
