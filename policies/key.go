package policies

import "github.com/sluice-data/sluice/internal/discovery"

// The keys of a country are three, so that who may read one kind of thing needs no right on another: its data, its state, its logs.
//
// Resource is "*" in every statement because in a key's policy it means the key itself.

// DataKey is the policy of the key that a country's records are encrypted with: the account administers it and hands out its use
// through IAM. Of the services, only EMR Serverless may use it, for its workers' disks; others that encrypt records do so with the rights
// of the role that asks them. Operators may not, whatever IAM comes to allow them. They are told by a condition, because a principal has
// to be there before a key can name it.
// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/disk-encryption-cmk.html
func DataKey(account, region, stack, country, operatorRoleARN string) Document {
	return New(administer(account),
		Statement{Sid: "ServerlessEncryptsDisks", Effect: "Allow", Principal: &Principal{Service: Strings{"emr-serverless.amazonaws.com"}},
			Action: Strings{"kms:Decrypt", "kms:GenerateDataKey"}, Resource: Strings{"*"},
			Condition: Condition{
				"StringEquals": {"aws:SourceAccount": {account}, "kms:EncryptionContext:" + discovery.WorkerDisks: {discovery.DisksOf(stack, country)}},
				"ArnLike":      {"aws:SourceArn": {"arn:aws:emr-serverless:" + region + ":" + account + ":/applications/*"}},
			}},
		Statement{Sid: "DenyOperatorsRecords", Effect: "Deny", Principal: &Principal{Any: true},
			Action: Strings{"kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Resource: Strings{"*"},
			Condition: Condition{"ArnEquals": {"aws:PrincipalArn": {operatorRoleARN}}}})
}

// StateKey is the policy of the key of a country's ledger, queues and topics: the services that tell of things may encrypt what they
// send to them, only for this account. Not every service says to KMS for whom it asks, EventBridge never does
// (https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html): the policies of topics and queues hold those to the account.
func StateKey(account, region string) Document {
	d := New(administer(account))
	for _, sender := range []struct{ sid, service, sources string }{
		{"AlarmsTellTopics", "cloudwatch.amazonaws.com", "arn:aws:cloudwatch:" + region + ":" + account + ":alarm:*"},
		{"RulesTellTopicsAndQueues", "events.amazonaws.com", "arn:aws:events:" + region + ":" + account + ":rule/*"},
		{"BudgetsTellTopics", "budgets.amazonaws.com", "arn:aws:budgets::" + account + ":*"},
		{"BucketsTellTopicsAndQueues", "s3.amazonaws.com", "arn:aws:s3:::*"}, // a bucket's ARN has no account; SourceAccount says whose
		{"TopicsTellQueues", "sns.amazonaws.com", "arn:aws:sns:" + region + ":" + account + ":*"},
	} {
		d.Statement = append(d.Statement, Statement{Sid: sender.sid, Effect: "Allow", Principal: &Principal{Service: Strings{sender.service}},
			Action: Strings{"kms:Decrypt", "kms:GenerateDataKey*"}, Resource: Strings{"*"},
			Condition: Condition{
				"StringEqualsIfExists": {"aws:SourceAccount": {account}},
				"ArnLikeIfExists":      {"aws:SourceArn": {sender.sources}},
			}})
	}
	return d
}

// PolledStateKey is StateKey where the polling driver's state machine has its history, and its log, under the key, too.
// https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
func PolledStateKey(account, region string) Document {
	d := StateKey(account, region)
	d.Statement = append(d.Statement, Statement{Sid: "LogDeliveryReadsHistory", Effect: "Allow", Principal: &Principal{Service: Strings{"delivery.logs.amazonaws.com"}},
		Action: Strings{"kms:Decrypt"}, Resource: Strings{"*"},
		Condition: Condition{"StringEquals": {"kms:EncryptionContext:SourceArn": {"arn:aws:logs:" + region + ":" + account + ":*"}}}})
	return d
}

// LogsKey is the policy of the key of a country's log groups and of its clusters' logs: the log service of the region may use it, only for
// groups of this account, and EMR Serverless, only for applications of this account. Clusters do so with the rights of their nodes.
// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/jobs-log-encryption.html
func LogsKey(account, region string) Document {
	return New(administer(account),
		Statement{Sid: "LogGroupsOfThisAccount", Effect: "Allow", Principal: &Principal{Service: Strings{"logs." + region + ".amazonaws.com"}},
			Action: Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Resource: Strings{"*"},
			Condition: Condition{"ArnLike": {"kms:EncryptionContext:aws:logs:arn": {"arn:aws:logs:" + region + ":" + account + ":log-group:*"}}}},
		Statement{Sid: "ServerlessRunsOfThisAccount", Effect: "Allow", Principal: &Principal{Service: Strings{"emr-serverless.amazonaws.com"}},
			Action: Strings{"kms:Decrypt", "kms:GenerateDataKey"}, Resource: Strings{"*"},
			Condition: Condition{"StringLike": {"aws:SourceArn": {"arn:aws:emr-serverless:" + region + ":" + account + ":/applications/*"}}}})
}

// administer leaves it to IAM of the account who administers the key and who uses it; without it nobody could, not even to delete it.
func administer(account string) Statement {
	return Statement{Sid: "AccountAdministersByIAM", Effect: "Allow", Principal: &Principal{AWS: Strings{"arn:aws:iam::" + account + ":root"}},
		Action: Strings{"kms:*"}, Resource: Strings{"*"}}
}
