package policies

// Key is the policy of a country's KMS key: the account administers it through IAM, and the services that encrypt or deliver on the
// country's behalf may use it, only for this account.
//
// Resource is "*" in every statement because in a key's policy it means the key itself.
func Key(account, region string) Document {
	ours := Condition{"StringEquals": {"aws:SourceAccount": {account}}}
	use := Strings{"kms:Decrypt", "kms:GenerateDataKey*"}
	return New(
		Statement{Sid: "AccountAdministersByIAM", Effect: "Allow", Principal: &Principal{AWS: Strings{"arn:aws:iam::" + account + ":root"}},
			Action: Strings{"kms:*"}, Resource: Strings{"*"}},
		Statement{Sid: "LogGroupsOfThisAccount", Effect: "Allow", Principal: &Principal{Service: Strings{"logs." + region + ".amazonaws.com"}},
			Action: Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Resource: Strings{"*"},
			Condition: Condition{"ArnLike": {"kms:EncryptionContext:aws:logs:arn": {"arn:aws:logs:" + region + ":" + account + ":log-group:*"}}}},
		Statement{Sid: "EventsAlarmsAndTopicsOfThisAccount", Effect: "Allow",
			Principal: &Principal{Service: Strings{"budgets.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com", "s3.amazonaws.com", "sns.amazonaws.com"}},
			Action:    use, Resource: Strings{"*"}, Condition: ours},
	)
}
