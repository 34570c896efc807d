package main

import (
	"fmt"
	"maps"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/infra"
)

// sharedCountry is the value of the tag Country on what belongs to no country.
const sharedCountry = "shared"

// tags are those that everything has that takes tags: the environment's own, and whose it is. Costs are told apart by them, and roles
// are bound to them, so that the environment's cannot replace ours.
func (c *Config) tags(country string) map[string]string {
	tags := map[string]string{}
	maps.Copy(tags, c.AWS.Tags)
	maps.Copy(tags, map[string]string{"Product": "sluice", "Stack": c.Stack, "Country": country})
	return tags
}

// newShared creates what each account of the stack has once for all its countries. It names none of them: one that comes or goes
// changes nothing here, except for the first and the last of an account.
func newShared(ctx *pulumi.Context, config *Config, places map[string]*place, reached providers) error {
	if config.Trail.Enabled != nil && !*config.Trail.Enabled {
		return nil
	}
	accounts := map[string]bool{}
	for _, country := range config.Countries {
		if accounts[country.Account] {
			continue
		}
		accounts[country.Account] = true
		// A trail records all regions, so one is enough; it is in the environment's, wherever the account's countries are.
		at, err := newPlace(ctx, config, &Country{Account: country.Account, Region: config.AWS.Region, AccountRoleARN: country.AccountRoleARN}, places, reached)
		if err != nil {
			return err
		}
		if err := newTrail(ctx, config, country.Account, at); err != nil {
			return fmt.Errorf("account %s: %w", country.Account, err)
		}
	}
	return nil
}

func newTrail(ctx *pulumi.Context, config *Config, account string, at *place) error {
	name := "shared-" + account
	suffix, err := infra.NewSuffix(ctx, name)
	if err != nil {
		return err
	}
	_, err = infra.NewTrail(ctx, name, &infra.TrailArgs{
		TrailName: "sluice-" + config.Stack, Account: account, Region: config.AWS.Region, BucketName: pulumi.Sprintf("sluicetrail-%s-%s", config.Stack, suffix),
		LakePrefix: "sluice-" + config.Stack + "-", DataEvents: config.Trail.DataEvents, LogDays: config.Trail.LogDays,
		ManagementEvents: config.Trail.ManagementEvents, KMSEvents: config.Trail.KMSEvents, LockDays: config.Trail.LockDays,
		Protect: config.protects(trailData), Tags: config.tags(sharedCountry)}, pulumi.Providers(at.provider))
	return err
}
