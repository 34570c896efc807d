package policies

// Bucket is the policy of a bucket with data: TLS only, and no object under another key than the country's.
//
// The encryption rules look only at requests that name an encryption: another kind, another key, KMS without a key, or a key that the
// sender brings along (SSE-C), which would leave objects that nobody else can ever read. A negated operator matches a missing key too,
// with or without IfExists, so without the Null test they would block every writer that relies on the bucket's default.
//
// Uploads in parts and copies are decided as puts are: both need s3:PutObject, and carry the same headers (CreateMultipartUpload,
// CopyObject).
func Bucket(bucketARN, keyARN string) Document {
	return New(
		tlsOnly("s3:*", bucketARN, bucketARN+"/*"),
		Statement{Sid: "DenyOtherEncryption", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
			Condition: Condition{"StringNotEquals": {encryptionMethod: {"aws:kms"}}, "Null": {encryptionMethod: {"false"}}}},
		denyOtherKeys(bucketARN, keyARN),
		denyAWSManagedKey(bucketARN),
		denyBroughtKeys(bucketARN),
	)
}

// What a request that writes an object says of its encryption, as policies see it. A request that says nothing has neither, and gets the
// bucket's default. https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
const (
	encryptionMethod = "s3:x-amz-server-side-encryption"
	encryptionKey    = "s3:x-amz-server-side-encryption-aws-kms-key-id"
)

// denyOtherKeys refuses objects under another KMS key than this one.
func denyOtherKeys(bucketARN, keyARN string) Statement {
	return Statement{Sid: "DenyOtherKeys", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
		Condition: Condition{"StringNotEquals": {encryptionKey: {keyARN}}, "Null": {encryptionKey: {"false"}}}}
}

// denyAWSManagedKey refuses requests for KMS (aws:kms, aws:kms:dsse) that name no key: S3 takes them to mean the AWS-managed key aws/s3,
// whatever the bucket's default is, and no policy of ours decides who may use that one.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
func denyAWSManagedKey(bucketARN string) Statement {
	return Statement{Sid: "DenyAWSManagedKey", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
		Condition: Condition{"StringLike": {encryptionMethod: {"aws:kms*"}}, "Null": {encryptionKey: {"true"}}}}
}

// LogBucket is the policy of the bucket that takes the access logs of the country's other buckets, and the flow logs of its network.
func LogBucket(bucketARN, account, region string, sourceARNs ...string) Document {
	flows := func() Condition {
		return Condition{"StringEquals": {"aws:SourceAccount": {account}}, "ArnLike": {"aws:SourceArn": {"arn:aws:logs:" + region + ":" + account + ":*"}}}
	}
	written := flows()
	written["StringEqualsIfExists"] = map[string]Strings{"s3:x-amz-acl": {"bucket-owner-full-control"}} // access lists are off, and nobody has to name one
	return New(
		tlsOnly("s3:*", bucketARN, bucketARN+"/*"),
		denyBroughtKeys(bucketARN),
		Statement{Sid: "AccessLogsOfTheCountrysBuckets", Effect: "Allow", Principal: &Principal{Service: Strings{"logging.s3.amazonaws.com"}},
			Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/access/*"},
			Condition: Condition{"StringEquals": {"aws:SourceAccount": {account}}, "ArnLike": {"aws:SourceArn": sourceARNs}}},
		// Without these two the delivery service would write a policy of its own over this one when a flow log is created.
		Statement{Sid: "FlowLogsOfThisAccount", Effect: "Allow", Principal: &Principal{Service: Strings{"delivery.logs.amazonaws.com"}},
			Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/flow/*"}, Condition: written},
		Statement{Sid: "FlowLogsFindBucket", Effect: "Allow", Principal: &Principal{Service: Strings{"delivery.logs.amazonaws.com"}},
			Action: Strings{"s3:GetBucketAcl", "s3:ListBucket"}, Resource: Strings{bucketARN}, Condition: flows()},
	)
}

// Queue is the policy of a queue: TLS only. Who sends and receives is up to their own roles.
func Queue(queueARN string) Document { return New(tlsOnly("sqs:*", queueARN)) }

// EventQueue is the policy of a queue that a bucket of the account sends its events to.
func EventQueue(queueARN, account, bucketARN string) Document {
	return New(
		tlsOnly("sqs:*", queueARN),
		Statement{Sid: "EventsOfTheBucket", Effect: "Allow", Principal: &Principal{Service: Strings{"s3.amazonaws.com"}}, Action: Strings{"sqs:SendMessage"}, Resource: Strings{queueARN},
			Condition: Condition{"StringEquals": {"aws:SourceAccount": {account}}, "ArnEquals": {"aws:SourceArn": {bucketARN}}}},
	)
}

// DeadLetters is the policy of the queue for what could not be handled: topics and rules of the account may leave there what they could not
// deliver.
func DeadLetters(queueARN, account, region string) Document {
	d := Queue(queueARN)
	for _, sender := range []struct{ sid, service, sources string }{
		{"RulesOfThisAccount", "events.amazonaws.com", "arn:aws:events:" + region + ":" + account + ":rule/*"},
		{"TopicsOfThisAccount", "sns.amazonaws.com", "arn:aws:sns:" + region + ":" + account + ":*"},
	} {
		d.Statement = append(d.Statement, Statement{Sid: sender.sid, Effect: "Allow", Principal: &Principal{Service: Strings{sender.service}},
			Action: Strings{"sqs:SendMessage"}, Resource: Strings{queueARN}, Condition: Condition{"ArnLike": {"aws:SourceArn": {sender.sources}}}})
	}
	return d
}

// Topic is the policy of a topic that only roles of the account publish to.
func Topic(topicARN string) Document { return New(tlsOnly("sns:Publish", topicARN)) }

// AlertTopic is the policy of a topic that alarms, event rules and budgets of the account publish to as well.
func AlertTopic(topicARN, account string) Document {
	return New(
		tlsOnly("sns:Publish", topicARN),
		Statement{Sid: "AlarmsAndEventsOfThisAccount", Effect: "Allow", Principal: &Principal{Service: Strings{"cloudwatch.amazonaws.com", "events.amazonaws.com"}},
			Action: Strings{"sns:Publish"}, Resource: Strings{topicARN}, Condition: Condition{"StringEquals": {"aws:SourceAccount": {account}}}},
		Statement{Sid: "BudgetsOfThisAccount", Effect: "Allow", Principal: &Principal{Service: Strings{"budgets.amazonaws.com"}}, Action: Strings{"sns:Publish"}, Resource: Strings{topicARN},
			Condition: Condition{"StringEquals": {"aws:SourceAccount": {account}}, "ArnLike": {"aws:SourceArn": {"arn:aws:budgets::" + account + ":*"}}}},
	)
}

// denyBroughtKeys refuses objects under a key that the sender brings along.
func denyBroughtKeys(bucketARN string) Statement {
	return Statement{Sid: "DenyKeysBroughtAlong", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
		Condition: Condition{"Null": {"s3:x-amz-server-side-encryption-customer-algorithm": {"false"}}}}
}

func tlsOnly(action string, resources ...string) Statement {
	return Statement{Sid: "DenyPlainText", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{action}, Resource: resources,
		Condition: Condition{"Bool": {"aws:SecureTransport": {"false"}}}}
}
