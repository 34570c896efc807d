package infra

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/kms"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// KeysArgs is what Keys are made of.
type KeysArgs struct {
	Account string            // Account is the AWS account that administers the key.
	Region  string            // Region is the region whose log service may use the key.
	Alias   string            // Alias is the key's name for people, without "alias/".
	Protect bool              // Protect refuses to delete the key, and with it all that it encrypted.
	Tags    map[string]string // Tags go on everything that takes tags.
}

// Keys is the key that everything of one country is encrypted with. It turns every year.
type Keys struct {
	pulumi.ResourceState

	ARN pulumi.StringOutput
}

// NewKeys creates Keys.
func NewKeys(ctx *pulumi.Context, name string, args *KeysArgs, opts ...pulumi.ResourceOption) (*Keys, error) {
	k := &Keys{}
	if err := register(ctx, "sluice:security:Keys", name, k, opts); err != nil {
		return nil, err
	}
	policy, err := policies.Key(args.Account, args.Region).JSON()
	if err != nil {
		return nil, err
	}
	key, err := kms.NewKey(ctx, name, &kms.KeyArgs{
		Description:          pulumi.String("Everything of " + args.Alias),
		EnableKeyRotation:    pulumi.Bool(true),
		DeletionWindowInDays: pulumi.Int(30), // the longest: time to notice that data became unreadable
		Policy:               pulumi.String(policy),
		Tags:                 tagged(args.Tags),
	}, pulumi.Parent(k), pulumi.Protect(args.Protect))
	if err != nil {
		return nil, err
	}
	if _, err := kms.NewAlias(ctx, name, &kms.AliasArgs{Name: pulumi.String("alias/" + args.Alias), TargetKeyId: key.KeyId}, pulumi.Parent(k)); err != nil {
		return nil, err
	}
	k.ARN = key.Arn
	return k, ctx.RegisterResourceOutputs(k, pulumi.Map{"arn": k.ARN})
}
