package policies

// AssumedBy is the trust of a role that a service takes, for example "lambda.amazonaws.com".
func AssumedBy(service string) Document {
	return New(Statement{Sid: "Assume", Effect: "Allow", Principal: &Principal{Service: Strings{service}}, Action: Strings{"sts:AssumeRole"}})
}

// AssumedByEMR is the trust of EMR's service role, for clusters of this account and region only.
func AssumedByEMR(account, region string) Document {
	d := AssumedBy("elasticmapreduce.amazonaws.com")
	d.Statement[0].Condition = Condition{
		"StringEquals": {"aws:SourceAccount": {account}},
		"ArnLike":      {"aws:SourceArn": {"arn:aws:elasticmapreduce:" + region + ":" + account + ":*"}},
	}
	return d
}
