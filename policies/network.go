package policies

import (
	"maps"
	"slices"
)

// S3Endpoint is the policy of a country's S3 gateway endpoint: buckets of its own account, and those of AWS that EMR 7 nodes install from
// and report to. https://docs.aws.amazon.com/emr/latest/ManagementGuide/private-subnet-iampolicy.html
func S3Endpoint(account, region string) Document {
	logs := "arn:aws:s3:::aws157-logs-prod"
	if region != "us-east-1" {
		logs += "-" + region
	}
	return New(
		Statement{Sid: "BucketsOfThisAccount", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:*"}, Resource: Strings{"*"}, // any bucket, as long as the account owns it
			Condition: Condition{"StringEquals": {"aws:ResourceAccount": {account}}}},
		Statement{Sid: "RepositoriesOfEMR", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:GetObject", "s3:ListBucket"}, Resource: Strings{
			"arn:aws:s3:::al2023-repos-" + region + "-de612dc2", "arn:aws:s3:::al2023-repos-" + region + "-de612dc2/*",
			"arn:aws:s3:::repo." + region + ".emr.amazonaws.com", "arn:aws:s3:::repo." + region + ".emr.amazonaws.com/*"}},
		Statement{Sid: "LogReportsOfEMR", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:GetObject", "s3:ListBucket", "s3:PutObject"},
			Resource: Strings{"arn:aws:s3:::prod." + region + ".appinfo.src", "arn:aws:s3:::prod." + region + ".appinfo.src/*"}},
		Statement{Sid: "SystemLogsOfEMR", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{"s3:PutObject"}, Resource: Strings{logs + "/*"}},
	)
}

// endpointActions are the services that can have an endpoint, by the name that the endpoint has, each with the word that begins its
// actions in IAM. It is what functions and jobs may come to need; a service more is a line.
var endpointActions = map[string]string{
	"athena": "athena", "dynamodb": "dynamodb", "ec2": "ec2", "ecr.api": "ecr", "ecr.dkr": "ecr", "elasticmapreduce": "elasticmapreduce",
	"emr-serverless": "emr-serverless", "events": "events", "glue": "glue", "kinesis-streams": "kinesis", "kms": "kms", "lambda": "lambda",
	"lakeformation": "lakeformation", "logs": "logs", "monitoring": "cloudwatch", "secretsmanager": "secretsmanager", "sns": "sns",
	"sqs": "sqs", "ssm": "ssm", "states": "states", "sts": "sts",
}

// EndpointServices are the services that Endpoint has a policy for.
func EndpointServices() []string { return slices.Sorted(maps.Keys(endpointActions)) }

// Endpoint is the policy of an endpoint to a service other than S3: principals of the account, on what belongs to the account. The
// roles decide what they may do; this keeps credentials from elsewhere, and the way out to accounts elsewhere, off the network. It is
// false for a service that it does not know.
func Endpoint(service, account string) (Document, bool) {
	actions, ok := endpointActions[service]
	return New(Statement{Sid: "OwnPrincipalsOnOwnResources", Effect: "Allow", Principal: &Principal{Any: true}, Action: Strings{actions + ":*"}, Resource: Strings{"*"}, // whatever the account owns
		Condition: Condition{
			"StringEquals":         {"aws:PrincipalAccount": {account}},
			"StringEqualsIfExists": {"aws:ResourceAccount": {account}}, // actions that touch no resource have no such key
		}}), ok
}
