package policies

// Bucket is the policy of a bucket with data: TLS only, and no object under another key than the country's.
//
// The encryption rules look only at requests that name an encryption: another kind, another key, or a key that the sender brings along
// (SSE-C), which would leave objects that nobody else can ever read. A negated operator matches a missing key too, with or
// without IfExists, so without the Null test they would block every writer that relies on the bucket's default.
func Bucket(bucketARN, keyARN string) Document {
	const method, key = "s3:x-amz-server-side-encryption", "s3:x-amz-server-side-encryption-aws-kms-key-id"
	return New(
		tlsOnly("s3:*", bucketARN, bucketARN+"/*"),
		Statement{Sid: "DenyOtherEncryption", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
			Condition: Condition{"StringNotEquals": {method: {"aws:kms"}}, "Null": {method: {"false"}}}},
		Statement{Sid: "DenyOtherKeys", Effect: "Deny", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{bucketARN + "/*"},
			Condition: Condition{"StringNotEquals": {key: {keyARN}}, "Null": {key: {"false"}}}},
		denyBroughtKeys(bucketARN),
	)
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
