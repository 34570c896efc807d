package infra

import (
	"maps"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/s3"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// DataLakeArgs is what a DataLake is made of.
type DataLakeArgs struct {
	Prefix         string             // Prefix begins each bucket's name, for example "sluice-prod-us".
	Suffix         pulumi.StringInput // Suffix ends each bucket's name, because bucket names are unique in the world.
	Account        string             // Account is the AWS account whose access and flow logs the logs bucket takes.
	Region         string             // Region is the region whose flow logs it takes.
	KeyARN         pulumi.StringInput // KeyARN is the key that objects are encrypted with.
	Protect        bool               // Protect refuses to delete the buckets; without it they are deleted with what is in them.
	NoncurrentDays int                // NoncurrentDays is how long overwritten and deleted objects can be restored, 30 by default. Landed files stay for ever.
	ColdDays       int                // ColdDays is when landed files move to Glacier Instant Retrieval, where they cost a sixth and are read as before, 90 by default.
	LogDays        int                // LogDays is how long access logs, and those of clusters and Serverless runs, are kept, 90 by default.
	FlowLogDays    int                // FlowLogDays is how long flow logs of the network are kept, 30 by default.
	Tags           map[string]string  // Tags go on everything that takes tags.
}

// DataLake is a country's buckets: one a stage, one for artifacts, one for logs.
type DataLake struct {
	pulumi.ResourceState

	Names map[string]pulumi.StringOutput // Names are the buckets' names by stage, "artifacts" and "logs" among them.
	ARNs  map[string]pulumi.StringOutput // ARNs are the buckets' ARNs, by the same words.

	FlowLogsARN pulumi.StringOutput // FlowLogsARN is where flow logs go; it is known once the logs bucket lets them in.
}

// NewDataLake creates a DataLake.
func NewDataLake(ctx *pulumi.Context, name string, args *DataLakeArgs, opts ...pulumi.ResourceOption) (*DataLake, error) {
	l := &DataLake{Names: map[string]pulumi.StringOutput{}, ARNs: map[string]pulumi.StringOutput{}}
	if err := register(ctx, "sluice:storage:DataLake", name, l, opts); err != nil {
		return nil, err
	}
	noncurrent := expireNoncurrent(withDefault(args.NoncurrentDays, 30))
	logs, err := l.logs(ctx, name+"-logs", args)
	if err != nil {
		return nil, err
	}
	sources, buckets := []pulumi.StringInput{}, map[string]*s3.BucketV2{}
	for _, b := range []struct {
		word  string
		rules []s3.BucketLifecycleConfigurationV2RuleInput
	}{
		{"landing", rules(cool(withDefault(args.ColdDays, 90)))}, // files stay as they came, every version of them
		{"validated", rules(noncurrent, dropMarkers())},
		{"invalid", rules(noncurrent, dropMarkers())},
		{"versioned", rules(noncurrent, dropMarkers())},
		{"curated", rules(noncurrent, dropMarkers())},
		{"artifacts", rules(noncurrent, dropMarkers(), expire("queries/", 30))},
	} {
		if buckets[b.word], err = l.data(ctx, name+"-"+b.word, b.word, args, b.rules); err != nil {
			return nil, err
		}
		sources = append(sources, l.ARNs[b.word])
	}
	admitted, err := l.admitLogs(ctx, name+"-logs", args, logs, sources)
	if err != nil {
		return nil, err
	}
	for _, word := range slices.Sorted(maps.Keys(buckets)) {
		if _, err := s3.NewBucketLoggingV2(ctx, name+"-"+word, &s3.BucketLoggingV2Args{Bucket: buckets[word].Bucket, TargetBucket: logs.Bucket, TargetPrefix: pulumi.String("access/" + word + "/")},
			pulumi.Parent(l), pulumi.DependsOn([]pulumi.Resource{admitted})); err != nil { // S3 looks whether it may write there (InvalidTargetBucketForLogging)
			return nil, err
		}
	}
	outputs := pulumi.Map{}
	for word, bucket := range l.Names {
		outputs[word] = bucket
	}
	return l, ctx.RegisterResourceOutputs(l, outputs)
}

// data creates a bucket of a stage or of artifacts: encrypted with the country's key, refusing plain text and other keys.
func (l *DataLake) data(ctx *pulumi.Context, name, word string, args *DataLakeArgs, lifecycle []s3.BucketLifecycleConfigurationV2RuleInput) (*s3.BucketV2, error) {
	b, err := l.bucket(ctx, name, word, args, lifecycle)
	if err != nil {
		return nil, err
	}
	encrypted, err := l.encrypt(ctx, name, b, &s3.BucketServerSideEncryptionConfigurationV2RuleArgs{
		BucketKeyEnabled: pulumi.Bool(true), // one call to KMS for many objects
		ApplyServerSideEncryptionByDefault: &s3.BucketServerSideEncryptionConfigurationV2RuleApplyServerSideEncryptionByDefaultArgs{
			SseAlgorithm: pulumi.String("aws:kms"), KmsMasterKeyId: args.KeyARN.ToStringOutput().ToStringPtrOutput()},
	})
	if err != nil {
		return nil, err
	}
	l.Names[word] = encrypted.Bucket // what a deployment puts there before would be under S3's own key
	_, err = s3.NewBucketPolicy(ctx, name, &s3.BucketPolicyArgs{Bucket: b.Bucket,
		Policy: document(func(s []string) policies.Document { return policies.Bucket(s[0], s[1]) }, b.Arn, args.KeyARN)}, pulumi.Parent(l))
	return b, err
}

// logs creates the bucket that takes access, cluster and flow logs. S3 delivers access logs only to buckets with its own keys.
func (l *DataLake) logs(ctx *pulumi.Context, name string, args *DataLakeArgs) (*s3.BucketV2, error) {
	days := withDefault(args.LogDays, 90)
	b, err := l.bucket(ctx, name, "logs", args, rules(expireNoncurrent(1), dropMarkers(), expire("access/", days), expire("emr/", days),
		expire("emr-serverless/", days), expire("flow/", withDefault(args.FlowLogDays, 30))))
	if err != nil {
		return nil, err
	}
	_, err = l.encrypt(ctx, name, b, &s3.BucketServerSideEncryptionConfigurationV2RuleArgs{
		BucketKeyEnabled: pulumi.Bool(false),
		ApplyServerSideEncryptionByDefault: &s3.BucketServerSideEncryptionConfigurationV2RuleApplyServerSideEncryptionByDefaultArgs{
			SseAlgorithm: pulumi.String("AES256")},
	})
	return b, err
}

// admitLogs lets S3 write the access logs of the source buckets to the logs bucket, and the network its flow logs.
func (l *DataLake) admitLogs(ctx *pulumi.Context, name string, args *DataLakeArgs, logs *s3.BucketV2, sources []pulumi.StringInput) (*s3.BucketPolicy, error) {
	policy, err := s3.NewBucketPolicy(ctx, name, &s3.BucketPolicyArgs{Bucket: logs.Bucket,
		Policy: document(func(s []string) policies.Document {
			return policies.LogBucket(s[0], args.Account, args.Region, s[1:]...)
		}, append([]pulumi.StringInput{logs.Arn}, sources...)...)}, pulumi.Parent(l))
	if err != nil {
		return nil, err
	}
	l.FlowLogsARN = pulumi.Sprintf("arn:aws:s3:::%s/flow/", policy.Bucket)
	return policy, nil
}

// bucket creates what all buckets have: versions, no public access, no access lists, and a lifecycle.
func (l *DataLake) bucket(ctx *pulumi.Context, name, word string, args *DataLakeArgs, lifecycle []s3.BucketLifecycleConfigurationV2RuleInput) (*s3.BucketV2, error) {
	b, err := s3.NewBucketV2(ctx, name, &s3.BucketV2Args{
		Bucket:       pulumi.Sprintf("%s-%s-%s", args.Prefix, word, args.Suffix),
		ForceDestroy: pulumi.Bool(!args.Protect),
		Tags:         tagged(args.Tags, map[string]string{"Stage": word}),
	}, pulumi.Parent(l), pulumi.Protect(args.Protect))
	if err != nil {
		return nil, err
	}
	l.Names[word], l.ARNs[word] = b.Bucket, b.Arn
	if _, err := s3.NewBucketVersioningV2(ctx, name, &s3.BucketVersioningV2Args{Bucket: b.Bucket,
		VersioningConfiguration: &s3.BucketVersioningV2VersioningConfigurationArgs{Status: pulumi.String("Enabled")}}, pulumi.Parent(l)); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketPublicAccessBlock(ctx, name, &s3.BucketPublicAccessBlockArgs{Bucket: b.Bucket, BlockPublicAcls: pulumi.Bool(true), BlockPublicPolicy: pulumi.Bool(true),
		IgnorePublicAcls: pulumi.Bool(true), RestrictPublicBuckets: pulumi.Bool(true)}, pulumi.Parent(l)); err != nil {
		return nil, err
	}
	if _, err := s3.NewBucketOwnershipControls(ctx, name, &s3.BucketOwnershipControlsArgs{Bucket: b.Bucket,
		Rule: &s3.BucketOwnershipControlsRuleArgs{ObjectOwnership: pulumi.String("BucketOwnerEnforced")}}, pulumi.Parent(l)); err != nil {
		return nil, err
	}
	_, err = s3.NewBucketLifecycleConfigurationV2(ctx, name, &s3.BucketLifecycleConfigurationV2Args{Bucket: b.Bucket,
		Rules: append(s3.BucketLifecycleConfigurationV2RuleArray{abortUploads()}, lifecycle...)}, pulumi.Parent(l))
	return b, err
}

func (l *DataLake) encrypt(ctx *pulumi.Context, name string, b *s3.BucketV2, rule *s3.BucketServerSideEncryptionConfigurationV2RuleArgs) (*s3.BucketServerSideEncryptionConfigurationV2, error) {
	return s3.NewBucketServerSideEncryptionConfigurationV2(ctx, name, &s3.BucketServerSideEncryptionConfigurationV2Args{Bucket: b.Bucket,
		Rules: s3.BucketServerSideEncryptionConfigurationV2RuleArray{rule}}, pulumi.Parent(l))
}

func rules(r ...s3.BucketLifecycleConfigurationV2RuleInput) []s3.BucketLifecycleConfigurationV2RuleInput {
	return r
}

// abortUploads removes the parts of uploads that nobody finished: they cost and nobody sees them.
func abortUploads() s3.BucketLifecycleConfigurationV2RuleInput {
	return &s3.BucketLifecycleConfigurationV2RuleArgs{Id: pulumi.String("abort-uploads"), Status: pulumi.String("Enabled"), Filter: below(""),
		AbortIncompleteMultipartUpload: &s3.BucketLifecycleConfigurationV2RuleAbortIncompleteMultipartUploadArgs{DaysAfterInitiation: pulumi.Int(7)}}
}

func expireNoncurrent(days int) s3.BucketLifecycleConfigurationV2RuleInput {
	return &s3.BucketLifecycleConfigurationV2RuleArgs{Id: pulumi.String("expire-noncurrent"), Status: pulumi.String("Enabled"), Filter: below(""),
		NoncurrentVersionExpiration: &s3.BucketLifecycleConfigurationV2RuleNoncurrentVersionExpirationArgs{NoncurrentDays: pulumi.Int(days)}}
}

// dropMarkers removes the marks of deletions whose versions are all gone; a listing has to skip each of them otherwise.
func dropMarkers() s3.BucketLifecycleConfigurationV2RuleInput {
	return &s3.BucketLifecycleConfigurationV2RuleArgs{Id: pulumi.String("drop-markers"), Status: pulumi.String("Enabled"), Filter: below(""),
		Expiration: &s3.BucketLifecycleConfigurationV2RuleExpirationArgs{ExpiredObjectDeleteMarker: pulumi.Bool(true)}}
}

// cool moves what is rarely read again to a cheaper class with the same speed.
func cool(days int) s3.BucketLifecycleConfigurationV2RuleInput {
	return &s3.BucketLifecycleConfigurationV2RuleArgs{Id: pulumi.String("cool"), Status: pulumi.String("Enabled"), Filter: below(""),
		Transitions: s3.BucketLifecycleConfigurationV2RuleTransitionArray{&s3.BucketLifecycleConfigurationV2RuleTransitionArgs{
			Days: pulumi.Int(days), StorageClass: pulumi.String("GLACIER_IR")}}}
}

func expire(prefix string, days int) s3.BucketLifecycleConfigurationV2RuleInput {
	return &s3.BucketLifecycleConfigurationV2RuleArgs{Id: pulumi.String("expire-" + prefix), Status: pulumi.String("Enabled"), Filter: below(prefix),
		Expiration: &s3.BucketLifecycleConfigurationV2RuleExpirationArgs{Days: pulumi.Int(days)}}
}

// below is the filter of a lifecycle rule; the empty prefix stands for every object.
func below(prefix string) s3.BucketLifecycleConfigurationV2RuleFilterArgs {
	return s3.BucketLifecycleConfigurationV2RuleFilterArgs{Prefix: pulumi.String(prefix)}
}
