package policies

// S3Endpoint is the policy of a country's S3 gateway endpoint: buckets of its own account, and the repositories that EMR 7 nodes
// install from and report to, which belong to AWS.
func S3Endpoint(account, region string) Document {
	return New(
		Statement{Sid: "BucketsOfThisAccount", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:*"}, Resource: Strings{"*"}, // any bucket, as long as the account owns it
			Condition: Condition{"StringEquals": {"aws:ResourceAccount": {account}}}},
		Statement{Sid: "RepositoriesOfEMR", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:GetObject", "s3:ListBucket"}, Resource: Strings{
			"arn:aws:s3:::al2023-repos-" + region + "-de612dc2", "arn:aws:s3:::al2023-repos-" + region + "-de612dc2/*",
			"arn:aws:s3:::repo." + region + ".emr.amazonaws.com", "arn:aws:s3:::repo." + region + ".emr.amazonaws.com/*"}},
		Statement{Sid: "LogReportsOfEMR", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:GetObject", "s3:ListBucket", "s3:PutObject"},
			Resource: Strings{"arn:aws:s3:::prod." + region + ".appinfo.src", "arn:aws:s3:::prod." + region + ".appinfo.src/*"}},
	)
}

// Endpoint is the policy of an endpoint to another service: what belongs to the account, by principals of the account.
func Endpoint(account string) Document {
	return New(Statement{Sid: "PrincipalsOfThisAccount", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"*"}, Resource: Strings{"*"}, // the roles decide what; this decides whose
		Condition: Condition{"StringEquals": {"aws:PrincipalAccount": {account}}}})
}
