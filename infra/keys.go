package infra

import (
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/kms"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/policies"
)

// KeysArgs is what Keys are made of.
type KeysArgs struct {
	Account string            // Account is the AWS account that administers the keys.
	Region  string            // Region is the region whose services may use them.
	Stack   string            // Stack is the stack whose operators may not use the key of records.
	Country string            // Country is whose disks of EMR Serverless the key of records encrypts.
	Alias   string            // Alias begins the keys' names for people, without "alias/"; the purpose ends them.
	Polling bool              // Polling lets a state machine have its history under the key of state.
	Protect bool              // Protect refuses to delete the keys, and with them all that they encrypted.
	Tags    map[string]string // Tags go on everything that takes tags.
}

// Keys are the keys that everything of one country is encrypted with, one a purpose, so that who may read logs cannot read data.
// Each turns every year.
type Keys struct {
	pulumi.ResourceState

	DataARN  pulumi.StringOutput // DataARN is the key of records: buckets, tables' files, query results, nodes' and workers' disks.
	StateARN pulumi.StringOutput // StateARN is the key of the ledger, queues, topics and functions' settings.
	LogsARN  pulumi.StringOutput // LogsARN is the key of log groups, and of clusters' logs.
}

// NewKeys creates Keys.
func NewKeys(ctx *pulumi.Context, name string, args *KeysArgs, opts ...pulumi.ResourceOption) (*Keys, error) {
	k := &Keys{}
	if err := register(ctx, "sluice:security:Keys", name, k, opts); err != nil {
		return nil, err
	}
	state := policies.StateKey(args.Account, args.Region)
	if args.Polling {
		state = policies.PolledStateKey(args.Account, args.Region)
	}
	for _, purpose := range []struct {
		word, holds string
		policy      policies.Document
		arn         *pulumi.StringOutput
	}{
		{"data", "Records", policies.DataKey(args.Account, args.Region, args.Stack, args.Country, "arn:aws:iam::"+args.Account+":role/"+access.OperatorRoleName(args.Stack)), &k.DataARN},
		{"state", "Ledger, queues, topics and settings", state, &k.StateARN},
		{"logs", "Logs", policies.LogsKey(args.Account, args.Region), &k.LogsARN},
	} {
		policy, err := purpose.policy.JSON()
		if err != nil {
			return nil, err
		}
		if *purpose.arn, err = k.key(ctx, name+"-"+purpose.word, args.Alias+"/"+purpose.word, purpose.holds, policy, args); err != nil {
			return nil, fmt.Errorf("key %q: %w", purpose.word, err)
		}
	}
	return k, ctx.RegisterResourceOutputs(k, pulumi.Map{"dataArn": k.DataARN, "stateArn": k.StateARN, "logsArn": k.LogsARN})
}

// key creates one key and its alias.
func (k *Keys) key(ctx *pulumi.Context, name, alias, holds, policy string, args *KeysArgs) (pulumi.StringOutput, error) {
	key, err := kms.NewKey(ctx, name, &kms.KeyArgs{
		Description:          pulumi.String(holds + " of " + args.Alias),
		EnableKeyRotation:    pulumi.Bool(true),
		DeletionWindowInDays: pulumi.Int(30), // the longest: time to notice that data became unreadable
		Policy:               pulumi.String(policy),
		Tags:                 tagged(args.Tags),
	}, pulumi.Parent(k), pulumi.Protect(args.Protect))
	if err != nil {
		return pulumi.StringOutput{}, err
	}
	_, err = kms.NewAlias(ctx, name, &kms.AliasArgs{Name: pulumi.String("alias/" + alias), TargetKeyId: key.KeyId}, pulumi.Parent(k))
	return key.Arn, err
}
