package policies

// AssumedBy is the trust of a role that a service takes, for example "lambda.amazonaws.com".
func AssumedBy(service string) Document {
	return New(Statement{Sid: "Assume", Effect: "Allow", Principal: &Principal{Service: Strings{service}}, Action: Strings{"sts:AssumeRole"}})
}

// AssumedByEMR is the trust of EMR's service role, for clusters of this account and region only.
func AssumedByEMR(account, region string) Document {
	return assumedFor("elasticmapreduce.amazonaws.com", account, "arn:aws:elasticmapreduce:"+region+":"+account+":*")
}

// AssumedByServerless is the trust of a role that runs on EMR Serverless take, for applications of this account and region only.
func AssumedByServerless(account, region string) Document {
	return assumedFor("emr-serverless.amazonaws.com", account, "arn:aws:emr-serverless:"+region+":"+account+":/applications/*")
}

// AssumedByGlue is the trust of a role that Glue's jobs and crawlers of this account and region take.
func AssumedByGlue(account, region string) Document {
	return assumedFor("glue.amazonaws.com", account, "arn:aws:glue:"+region+":"+account+":*")
}

// AssumedByStateMachines is the trust of a role that state machines of this account and region take.
func AssumedByStateMachines(account, region string) Document {
	return assumedFor("states.amazonaws.com", account, "arn:aws:states:"+region+":"+account+":stateMachine:*")
}

// AssumedByRules is the trust of a role that EventBridge's rules of this account and region take.
func AssumedByRules(account, region string) Document {
	return assumedFor("events.amazonaws.com", account, "arn:aws:events:"+region+":"+account+":rule/*")
}

// assumedFor is the trust of a role that a service takes on behalf of an account's own resources.
func assumedFor(service, account, sourceARN string) Document {
	d := AssumedBy(service)
	d.Statement[0].Condition = Condition{"StringEquals": {"aws:SourceAccount": {account}}, "ArnLike": {"aws:SourceArn": {sourceARN}}}
	return d
}
