package policies

// TrailKey is the policy of the key of an account's trail: the account administers it, and reads with it, through IAM; CloudTrail
// encrypts with it for this one trail.
//
// Resource is "*" in every statement because in a key's policy it means the key itself.
func TrailKey(account, trailARN string) Document {
	trail := &Principal{Service: Strings{"cloudtrail.amazonaws.com"}}
	return New(
		Statement{Sid: "AccountAdministersByIAM", Effect: "Allow", Principal: &Principal{AWS: Strings{"arn:aws:iam::" + account + ":root"}},
			Action: Strings{"kms:*"}, Resource: Strings{"*"}},
		Statement{Sid: "TrailEncrypts", Effect: "Allow", Principal: trail, Action: Strings{"kms:GenerateDataKey*"}, Resource: Strings{"*"},
			Condition: Condition{"StringEquals": {"aws:SourceArn": {trailARN}},
				"StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn": {"arn:aws:cloudtrail:*:" + account + ":trail/*"}}}},
		Statement{Sid: "TrailLooksAtTheKey", Effect: "Allow", Principal: trail, Action: Strings{"kms:DescribeKey"}, Resource: Strings{"*"},
			Condition: Condition{"StringEquals": {"aws:SourceArn": {trailARN}}}},
	)
}

// TrailBucket is the policy of the bucket of an account's trail: TLS only, no other key than the trail's, and only this trail writes,
// not even an administrator.
//
// CloudTrail names the key for its records, and SSE-S3 for the digests that sign them, so that method is not denied.
// https://docs.aws.amazon.com/awscloudtrail/latest/userguide/encrypting-cloudtrail-log-files-with-aws-kms.html
func TrailBucket(bucketARN, keyARN, account, trailARN string) Document {
	trail := &Principal{Service: Strings{"cloudtrail.amazonaws.com"}}
	return New(
		tlsOnly("s3:*", bucketARN, bucketARN+"/*"),
		Statement{Sid: "TrailLooksWhoseTheBucketIs", Effect: "Allow", Principal: trail, Action: Strings{"s3:GetBucketAcl"}, Resource: Strings{bucketARN},
			Condition: Condition{"StringEquals": {"aws:SourceArn": {trailARN}}}},
		Statement{Sid: "TrailWrites", Effect: "Allow", Principal: trail, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/AWSLogs/" + account + "/*"},
			Condition: Condition{"StringEquals": {"aws:SourceArn": {trailARN}, "s3:x-amz-acl": {"bucket-owner-full-control"}}}},
		Statement{Sid: "DenyPeopleToWrite", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
			Condition: Condition{"Bool": {"aws:PrincipalIsAWSService": {"false"}}}},
		denyOtherKeys(bucketARN, keyARN),
		denyAWSManagedKey(bucketARN),
		denyBroughtKeys(bucketARN),
	)
}
