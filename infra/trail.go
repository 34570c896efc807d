package infra

import (
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudtrail"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/kms"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// The data events that a Trail records.
const (
	AllDataEvents = "all"    // AllDataEvents records who read and who wrote which object.
	DataWrites    = "writes" // DataWrites records who wrote and deleted objects only.
	NoDataEvents  = "none"   // NoDataEvents records calls that manage resources, and none on objects.
	TrailLogDays  = 365      // TrailLogDays is how many days records are kept by default.
)

// The management events that a Trail records.
const (
	AllManagementEvents = "all"       // AllManagementEvents records every call that looks at or changes a resource.
	ManagementWrites    = "writeOnly" // ManagementWrites records those that change something only.
	NoManagementEvents  = "none"      // NoManagementEvents records none; then data events are all that there is.
	keyEvents           = "kms.amazonaws.com"
)

// TrailArgs is what a Trail is made of.
type TrailArgs struct {
	TrailName        string             // TrailName is the trail's physical name, and begins its key's alias.
	Account          string             // Account is the AWS account whose calls are recorded.
	Region           string             // Region is the region that the trail is kept in; it records all regions.
	BucketName       pulumi.StringInput // BucketName is the bucket for what is recorded. It must not begin with LakePrefix, or the trail records its own deliveries for ever.
	LakePrefix       string             // LakePrefix begins the names of the buckets whose data events are recorded, for example "sluice-prod-".
	DataEvents       string             // DataEvents is what is recorded of objects: all by default, writes or none. AWS charges by the event.
	ManagementEvents string             // ManagementEvents is what is recorded of calls that manage resources: all by default, writeOnly or none.
	KMSEvents        bool               // KMSEvents records the uses of keys, too: with objects under KMS they are many times all others, and AWS charges for them where another trail records the same.
	LockDays         int                // LockDays is for how many days after it came nobody can delete a record, not even the account's root user nor AWS; 0 without a lock.
	LogDays          int                // LogDays is how long records are kept, 365 by default.
	Protect          bool               // Protect refuses to delete the records and their key.
	Tags             map[string]string  // Tags go on everything that takes tags.
}

// Trail records who did what in an account: every call that manages something, in every region, and every call on an object of the
// lake. Its files are encrypted with a key of their own and signed, so that a change of the past shows.
//
// It names the lake's buckets by how their names begin, and no country.
type Trail struct {
	pulumi.ResourceState

	Bucket pulumi.StringOutput // Bucket is the bucket that has the records.
}

// NewTrail creates a Trail.
func NewTrail(ctx *pulumi.Context, name string, args *TrailArgs, opts ...pulumi.ResourceOption) (*Trail, error) {
	t := &Trail{}
	if err := register(ctx, "sluice:security:Trail", name, t, opts); err != nil {
		return nil, err
	}
	trailARN := "arn:aws:cloudtrail:" + args.Region + ":" + args.Account + ":trail/" + args.TrailName
	key, err := t.key(ctx, name, trailARN, args)
	if err != nil {
		return nil, err
	}
	admitted, err := t.bucket(ctx, name, trailARN, key, args)
	if err != nil {
		return nil, err
	}
	if _, err := cloudtrail.NewTrail(ctx, name, &cloudtrail.TrailArgs{
		Name: pulumi.String(args.TrailName), S3BucketName: t.Bucket, KmsKeyId: key.Arn.ToStringPtrOutput(),
		IsMultiRegionTrail: pulumi.Bool(true), IncludeGlobalServiceEvents: pulumi.Bool(true), EnableLogFileValidation: pulumi.Bool(true),
		AdvancedEventSelectors: selectors(args), Tags: tagged(args.Tags),
	}, pulumi.Parent(t), pulumi.DependsOn([]pulumi.Resource{admitted})); err != nil { // CloudTrail tries whether it may write
		return nil, err
	}
	return t, ctx.RegisterResourceOutputs(t, pulumi.Map{"bucket": t.Bucket})
}

// selectors say what is recorded.
func selectors(args *TrailArgs) cloudtrail.TrailAdvancedEventSelectorArray {
	type fields = cloudtrail.TrailAdvancedEventSelectorFieldSelectorArray
	equals := func(field, value string) cloudtrail.TrailAdvancedEventSelectorFieldSelectorInput {
		return &cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs{Field: pulumi.String(field), Equals: pulumi.StringArray{pulumi.String(value)}}
	}
	all := cloudtrail.TrailAdvancedEventSelectorArray{}
	if args.ManagementEvents != NoManagementEvents {
		manage := fields{equals("eventCategory", "Management")}
		if args.ManagementEvents == ManagementWrites {
			manage = append(manage, equals("readOnly", "false"))
		}
		if !args.KMSEvents {
			// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/logging-management-events-with-cloudtrail.html
			manage = append(manage, &cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs{Field: pulumi.String("eventSource"), NotEquals: pulumi.StringArray{pulumi.String(keyEvents)}})
		}
		all = append(all, &cloudtrail.TrailAdvancedEventSelectorArgs{Name: pulumi.String("What manages resources"), FieldSelectors: manage})
	}
	if args.DataEvents == NoDataEvents {
		return all
	}
	lake := fields{equals("eventCategory", "Data"), equals("resources.type", "AWS::S3::Object"),
		&cloudtrail.TrailAdvancedEventSelectorFieldSelectorArgs{Field: pulumi.String("resources.ARN"), StartsWiths: pulumi.StringArray{pulumi.String("arn:aws:s3:::" + args.LakePrefix)}}}
	if args.DataEvents == DataWrites {
		lake = append(lake, equals("readOnly", "false"))
	}
	return append(all, &cloudtrail.TrailAdvancedEventSelectorArgs{Name: pulumi.String("Objects of the lake"), FieldSelectors: lake})
}

// key creates the key that only this trail encrypts with.
func (t *Trail) key(ctx *pulumi.Context, name, trailARN string, args *TrailArgs) (*kms.Key, error) {
	policy, err := policies.TrailKey(args.Account, trailARN).JSON()
	if err != nil {
		return nil, err
	}
	key, err := kms.NewKey(ctx, name, &kms.KeyArgs{
		Description: pulumi.String("Records of " + args.TrailName), EnableKeyRotation: pulumi.Bool(true), DeletionWindowInDays: pulumi.Int(30),
		Policy: pulumi.String(policy), Tags: tagged(args.Tags)}, pulumi.Parent(t), pulumi.Protect(args.Protect))
	if err != nil {
		return nil, err
	}
	_, err = kms.NewAlias(ctx, name, &kms.AliasArgs{Name: pulumi.String("alias/" + args.TrailName + "-trail"), TargetKeyId: key.KeyId}, pulumi.Parent(t))
	return key, err
}

// bucket creates the bucket that only this trail writes to, and returns its policy.
func (t *Trail) bucket(ctx *pulumi.Context, name, trailARN string, key *kms.Key, args *TrailArgs) (*s3.BucketPolicy, error) {
	b, err := s3.NewBucketV2(ctx, name, &s3.BucketV2Args{Bucket: args.BucketName.ToStringOutput().ToStringPtrOutput(), ForceDestroy: pulumi.Bool(!args.Protect), Tags: tagged(args.Tags)},
		pulumi.Parent(t), pulumi.Protect(args.Protect))
	if err != nil {
		return nil, err
	}
	t.Bucket = b.Bucket
	versions, err := s3.NewBucketVersioningV2(ctx, name, &s3.BucketVersioningV2Args{Bucket: b.Bucket,
		VersioningConfiguration: &s3.BucketVersioningV2VersioningConfigurationArgs{Status: pulumi.String("Enabled")}}, pulumi.Parent(t))
	if err != nil {
		return nil, err
	}
	if args.LockDays > 0 {
		if _, err := s3.NewBucketObjectLockConfigurationV2(ctx, name, &s3.BucketObjectLockConfigurationV2Args{Bucket: b.Bucket,
			Rule: &s3.BucketObjectLockConfigurationV2RuleArgs{DefaultRetention: &s3.BucketObjectLockConfigurationV2RuleDefaultRetentionArgs{
				Mode: pulumi.String("COMPLIANCE"), Days: pulumi.Int(args.LockDays)}}}, pulumi.Parent(t), pulumi.DependsOn([]pulumi.Resource{versions})); err != nil { // a bucket that exists takes a lock once it has versions
			return nil, err
		}
	}
	if _, err := s3.NewBucketPublicAccessBlock(ctx, name, &s3.BucketPublicAccessBlockArgs{Bucket: b.Bucket, BlockPublicAcls: pulumi.Bool(true), BlockPublicPolicy: pulumi.Bool(true),
		IgnorePublicAcls: pulumi.Bool(true), RestrictPublicBuckets: pulumi.Bool(true)}, pulumi.Parent(t)); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketOwnershipControls(ctx, name, &s3.BucketOwnershipControlsArgs{Bucket: b.Bucket,
		Rule: &s3.BucketOwnershipControlsRuleArgs{ObjectOwnership: pulumi.String("BucketOwnerEnforced")}}, pulumi.Parent(t)); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketServerSideEncryptionConfigurationV2(ctx, name, &s3.BucketServerSideEncryptionConfigurationV2Args{Bucket: b.Bucket,
		Rules: s3.BucketServerSideEncryptionConfigurationV2RuleArray{&s3.BucketServerSideEncryptionConfigurationV2RuleArgs{
			BucketKeyEnabled: pulumi.Bool(false), // with it, CloudTrail would have to be let decrypt
			ApplyServerSideEncryptionByDefault: &s3.BucketServerSideEncryptionConfigurationV2RuleApplyServerSideEncryptionByDefaultArgs{
				SseAlgorithm: pulumi.String("aws:kms"), KmsMasterKeyId: key.Arn.ToStringPtrOutput()}}}}, pulumi.Parent(t)); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketLifecycleConfigurationV2(ctx, name, &s3.BucketLifecycleConfigurationV2Args{Bucket: b.Bucket,
		Rules: append(s3.BucketLifecycleConfigurationV2RuleArray{abortUploads()},
			rules(expireNoncurrent(30), expire("AWSLogs/", withDefault(args.LogDays, TrailLogDays)))...)}, pulumi.Parent(t)); err != nil {
		return nil, err
	}
	return s3.NewBucketPolicy(ctx, name, &s3.BucketPolicyArgs{Bucket: b.Bucket,
		Policy: document(func(s []string) policies.Document { return policies.TrailBucket(s[0], s[1], args.Account, trailARN) }, b.Arn, key.Arn)}, pulumi.Parent(t))
}
