package policies

// Bucket is the policy of a bucket with data: TLS only, and no object under another key than the country's.
//
// The two encryption rules look only at requests that name an encryption. A negated operator matches a missing key too, with or
// without IfExists, so without the Null test they would block every writer that relies on the bucket's default.
func Bucket(bucketARN, keyARN string) Document {
	const method, key = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
	return New(
		tlsOnly("s3:*", bucketARN, bucketARN+"/*"),
		Statement{Sid: "DenyOtherEncryption", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
			Condition: Condition{"StringNotEquals": {method: {"aws:kms"}}, "Null": {method: {"false"}}}},
		Statement{Sid: "DenyOtherKeys", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
			Condition: Condition{"StringNotEquals": {key: {keyARN}}, "Null": {key: {"false"}}}},
	)
}

// LogBucket is the policy of the bucket that takes the access logs of the country's other buckets.
func LogBucket(bucketARN, account string, sourceARNs ...string) Document {
	return New(
		tlsOnly("s3:*", bucketARN, bucketARN+"/*"),
		Statement{Sid: "AccessLogsOfTheCountrysBuckets", Effect: "Allow", Principal: &Principal{Service: Strings{"logging.s3.amazonaws.com"}},
			Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/access/*"},
			Condition: Condition{"StringEquals": {"aws:SourceAccount": {account}}, "ArnLike": {"aws:SourceArn": sourceARNs}}},
	)
}

// Queue is the policy of a queue: TLS only. Who sends and receives is up to their own roles.
func Queue(queueARN string) Document { return New(tlsOnly("sqs:*", queueARN)) }

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

func tlsOnly(action string, resources ...string) Statement {
	return Statement{Sid: "DenyPlainText", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{action}, Resource: resources,
		Condition: Condition{"Bool": {"aws:SecureTransport": {"false"}}}}
}
