package policies

import (
	"slices"
	"strings"

	"github.com/sluice-data/sluice/internal/access"
)

// SealedObject is what the data key of an object that its sender encrypted is bound to: the object's key. KMS checks it, and a policy can
// demand it, so that who may read a prefix can open the objects below that prefix and no others.
const SealedObject = "sluice:object"

// ResultsPrefix is where in the artifacts bucket the results of one person's queries are.
func ResultsPrefix(who string) string { return "queries/people/" + who + "/" }

// Person is what somebody may do in a country, by the rules of the access table. Databases are the names of the stages' databases;
// workgroupARN is the person's own, because who shares a workgroup shares the results of each other's queries.
//
// A prefix comes without wildcards and variables (package access refuses them), so that it is matched letter by letter.
func Person(c Country, who, workgroupARN string, databases map[string]string, rules []access.Rule) Document {
	var statements []Statement
	var decrypts, encrypts, queried []string // what the key is needed for: buckets, and objects in them; buckets with queried tables
	for _, r := range rules {
		bucket := c.stageARN(r.Stage)
		objects := bucket + "/" + r.Prefix + "*"
		for _, verb := range r.Verbs {
			sid := r.Sid(string(verb))
			switch verb {
			case access.List:
				list := allow(sid, Strings{"s3:ListBucket"}, Strings{bucket})
				if r.Prefix != "" {
					list.Condition = Condition{"StringLike": {"s3:prefix": {r.Prefix + "*"}}}
				}
				statements = append(statements, list)
			case access.Read:
				statements = append(statements, allow(sid, Strings{"s3:GetObject"}, Strings{objects}))
				decrypts = append(decrypts, bucket, objects)
				if r.Sealed {
					statements = append(statements, sealed(r.Sid("open"), "kms:Decrypt", c.DataKeyARN, r.Prefix))
				}
			case access.Write:
				statements = append(statements, allow(sid, Strings{"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"}, Strings{objects}))
				encrypts = append(encrypts, bucket, objects)
				if r.Sealed {
					statements = append(statements, sealed(r.Sid("seal"), "kms:GenerateDataKey", c.DataKeyARN, r.Prefix))
				}
			case access.Delete: // the newest version gets a delete marker; no version is lost
				statements = append(statements, allow(sid, Strings{"s3:DeleteObject"}, Strings{objects}))
			case access.Query:
				queried = append(queried, bucket)
				statements = append(statements, queryTables(c, sid, databases[r.Stage], r.Feed))
			}
		}
	}
	if len(queried) > 0 {
		results := c.ArtifactsARN + "/" + ResultsPrefix(who) + "*"
		list := allow("ListOwnResults", Strings{"s3:ListBucket"}, Strings{c.ArtifactsARN})
		list.Condition = Condition{"StringLike": {"s3:prefix": {ResultsPrefix(who) + "*"}}}
		statements = append(statements,
			allow("AskInOwnWorkgroup", Strings{"athena:GetQueryExecution", "athena:GetQueryResults", "athena:GetWorkGroup", "athena:ListQueryExecutions",
				"athena:StartQueryExecution", "athena:StopQueryExecution"}, Strings{workgroupARN}),
			allow("LocateQueriedBuckets", Strings{"s3:GetBucketLocation"}, unique(append(queried, c.ArtifactsARN))),
			list,
			allow("KeepOwnResults", Strings{"s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"}, Strings{results}))
		decrypts, encrypts = append(decrypts, c.ArtifactsARN, results), append(encrypts, c.ArtifactsARN, results)
	}
	if len(decrypts) > 0 {
		statements = append(statements, throughS3(c, "DecryptThroughS3", Strings{"kms:Decrypt"}, decrypts))
	}
	if len(encrypts) > 0 { // an upload in parts decrypts the key that its first part was given
		statements = append(statements, throughS3(c, "EncryptThroughS3", Strings{"kms:Decrypt", "kms:GenerateDataKey"}, encrypts))
	}
	return New(statements...)
}

// queryTables allows to find the table of a feed, or all tables, of a stage's database.
func queryTables(c Country, sid, database, feed string) Statement {
	catalog := "arn:aws:glue:" + c.Region + ":" + c.Account
	actions, table := Strings{"glue:BatchGetPartition", "glue:GetDatabase", "glue:GetPartition", "glue:GetPartitions", "glue:GetTable"}, feed
	if feed == "" {
		actions, table = append(actions, "glue:GetTables"), "*"
	}
	return allow(sid, actions, Strings{catalog + ":catalog", catalog + ":database/" + database, catalog + ":table/" + database + "/" + table})
}

// throughS3 allows uses of the key by S3 on behalf of the caller, and only for these buckets and objects. S3 names the bucket in the
// encryption context where a bucket key is used, and the object where not.
func throughS3(c Country, sid string, actions Strings, arns []string) Statement {
	s := allow(sid, actions, Strings{c.DataKeyARN})
	s.Condition = Condition{"StringEquals": {"kms:ViaService": {"s3." + c.Region + ".amazonaws.com"}},
		"StringLike": {"kms:EncryptionContext:aws:s3:arn": unique(arns)}}
	return s
}

// sealed allows a use of the key by the caller itself, for data keys that are bound to an object below prefix.
func sealed(sid, action, keyARN, prefix string) Statement {
	s := allow(sid, Strings{action}, Strings{keyARN})
	s.Condition = Condition{"StringLike": {"kms:EncryptionContext:" + SealedObject: {prefix + "*"}}}
	return s
}

// Operator is what operators see of a stack, whatever countries it has: metrics, alarms, functions' logs, clusters and runs. Names and
// tags that begin with the stack's mark what is its.
func Operator(account, stack string) Document {
	mine := Condition{"StringEquals": {"aws:ResourceTag/Stack": {stack}}}
	clusters := allow("SeeClusters", Strings{"elasticmapreduce:DescribeCluster", "elasticmapreduce:DescribeStep", "elasticmapreduce:ListInstanceFleets",
		"elasticmapreduce:ListInstances", "elasticmapreduce:ListSteps"}, Strings{"arn:aws:elasticmapreduce:*:" + account + ":cluster/*"})
	clusters.Condition = mine
	serverless := allow("SeeServerlessRuns", Strings{"emr-serverless:GetApplication", "emr-serverless:GetJobRun", "emr-serverless:ListJobRuns"},
		Strings{"arn:aws:emr-serverless:*:" + account + ":/applications/*"})
	serverless.Condition = mine
	return New(
		// None of these knows a resource; metrics and alarms hold numbers and names, no data.
		allow("SeeMetricsAlarmsAndLists", Strings{"cloudwatch:DescribeAlarmHistory", "cloudwatch:DescribeAlarms", "cloudwatch:GetDashboard", "cloudwatch:GetMetricData",
			"cloudwatch:GetMetricStatistics", "cloudwatch:ListDashboards", "cloudwatch:ListMetrics", "elasticmapreduce:ListClusters",
			"emr-serverless:ListApplications", "logs:DescribeLogGroups"}, Strings{"*"}),
		allow("ReadFunctionLogs", Strings{"logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"},
			Strings{"arn:aws:logs:*:" + account + ":log-group:/aws/lambda/sluice-" + stack + "-*"}),
		clusters,
		serverless,
		allow("SeeGlueRuns", Strings{"glue:GetJobRun", "glue:GetJobRuns"}, Strings{"arn:aws:glue:*:" + account + ":job/sluice-" + stack + "-*"}),
	)
}

// OperatorIn is what operators see of one country: its ledger, its queues, and the logs of its clusters. The keys are those of the
// country's state and logs, which open no records, and only DynamoDB and S3 may use them for operators.
func OperatorIn(c Country) Document {
	key := allow("DecryptLedgerAndClusterLogs", Strings{"kms:Decrypt"}, Strings{c.StateKeyARN, c.LogsKeyARN})
	key.Condition = Condition{"StringEquals": {"kms:ViaService": {"dynamodb." + c.Region + ".amazonaws.com", "s3." + c.Region + ".amazonaws.com"}}}
	list := allow("FindClusterLogs", Strings{"s3:ListBucket"}, Strings{c.LogsARN})
	list.Condition = Condition{"StringLike": {"s3:prefix": {"emr*"}}}
	return New(
		allow("ReadLedger", Strings{"dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"},
			Strings{c.FeedsARN, c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN}),
		key,
		allow("SeeQueues", Strings{"sqs:GetQueueAttributes", "sqs:GetQueueUrl"}, Strings{c.LandedARN, c.TicketsARN, c.DeadLettersARN}),
		list,
		allow("ReadClusterLogs", Strings{"s3:GetObject"}, Strings{c.LogsARN + "/emr/*", c.LogsARN + "/emr-serverless/*"}),
	)
}

// AssumedByPeople is the trust of a role in an account for whom the access table says. An identity provider is the one of that name in
// the role's own account: IAM knows no other.
func AssumedByPeople(t access.Trust, account string) Document {
	s := Statement{Sid: "Assume", Effect: "Allow"}
	switch {
	case t.SAML != "":
		s.Principal, s.Action = &Principal{Federated: Strings{in(t.SAML, account)}}, Strings{"sts:AssumeRoleWithSAML"}
		s.Condition = Condition{"StringEquals": {"SAML:aud": {"https://signin.aws.amazon.com/saml"}}}
	case t.OIDC != "":
		s.Principal, s.Action = &Principal{Federated: Strings{in(t.OIDC, account)}}, Strings{"sts:AssumeRoleWithWebIdentity"}
		_, issuer, _ := strings.Cut(t.OIDC, "oidc-provider/")
		s.Condition = Condition{"StringEquals": {issuer + ":aud": {t.Audience}, issuer + ":sub": {t.Subject}}}
	default:
		s.Principal, s.Action = &Principal{AWS: Strings{"arn:aws:iam::" + t.Account + ":root"}}, Strings{"sts:AssumeRole"}
		if len(t.Principals) > 0 {
			// By condition, because a principal that does not exist (yet) makes IAM refuse the whole document.
			s.Condition = Condition{"ArnEquals": {"aws:PrincipalArn": t.Principals}}
		}
		if t.MFA {
			if s.Condition == nil {
				s.Condition = Condition{}
			}
			s.Condition["Bool"] = map[string]Strings{"aws:MultiFactorAuthPresent": {"true"}}
		}
	}
	return New(s)
}

// in is an ARN of IAM with another account.
func in(arn, account string) string {
	parts := strings.SplitN(arn, ":", 6)
	parts[4] = account
	return strings.Join(parts, ":")
}

// stageARN is the bucket of a stage.
func (c Country) stageARN(stage string) string {
	return map[string]string{"landing": c.LandingARN, "validated": c.ValidatedARN, "invalid": c.InvalidARN, "versioned": c.VersionedARN, "curated": c.CuratedARN}[stage]
}

// unique sorts strings and drops those that are there twice.
func unique(list []string) Strings {
	sorted := slices.Sorted(slices.Values(list))
	return slices.Compact(sorted)
}
