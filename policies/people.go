package policies

import (
	"slices"
	"strings"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/discovery"
)

// SealedObject is what the data key of an object that its sender encrypted is bound to: the object's key. KMS checks it, and a policy can
// demand it, so that who may read a prefix can open the objects below that prefix and no others.
const SealedObject = "sluice:object"

// ResultsPrefix is where in the artifacts bucket the results of one person's queries are.
func ResultsPrefix(who string) string { return "queries/people/" + who + "/" }

// Person is what somebody may do in a country, by the rules of the access table. Databases are the names of the stages' databases;
// workgroupARN is the person's own, because who shares a workgroup shares the results of each other's queries.
//
// Only what is bound to the country's key has the country in its statement's id: the others join those of other countries (Join).
//
// A prefix comes without wildcards and variables (package access refuses them), so that it is matched letter by letter.
func Person(c Country, who, workgroupARN string, databases map[string]string, rules []access.Rule) Document {
	var statements []Statement
	var decrypts, encrypts, queried []string // what the key is needed for: buckets, and objects in them; buckets with queried tables
	for _, stage := range access.Stages {
		bucket := c.stageARN(stage)
		for _, verb := range access.Verbs {
			with := access.With(rules, stage, verb)
			if len(with) == 0 {
				continue
			}
			sid, objects := access.Sid(string(verb), with), below(bucket+"/", with)
			switch verb {
			case access.List:
				list := allow(sid, Strings{"s3:ListBucket"}, Strings{bucket})
				if !whole(with) {
					list.Condition = Condition{"StringLike": {"s3:prefix": below("", with)}}
				}
				statements = append(statements, list)
			case access.Read:
				statements = append(append(statements, allow(sid, Strings{"s3:GetObject"}, objects)), sealed(c, "open", "kms:Decrypt", with)...)
				decrypts = append(append(decrypts, bucket), objects...)
			case access.Write:
				statements = append(append(statements, allow(sid, Strings{"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:PutObject"}, objects)),
					sealed(c, "seal", "kms:GenerateDataKey", with)...)
				encrypts = append(append(encrypts, bucket), objects...)
			case access.Delete: // the newest version gets a delete marker; no version is lost
				statements = append(statements, allow(sid, Strings{"s3:DeleteObject"}, objects))
			case access.Query:
				queried = append(queried, bucket)
				statements = append(statements, queryTables(c, sid, databases[stage], with))
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
	decrypts = slices.DeleteFunc(decrypts, func(arn string) bool { return slices.Contains(encrypts, arn) })
	if len(decrypts) > 0 {
		statements = append(statements, throughS3(c, "DecryptThroughS3In"+title(c.Code), Strings{"kms:Decrypt"}, decrypts))
	}
	if len(encrypts) > 0 { // an upload in parts decrypts the key that its first part was given
		statements = append(statements, throughS3(c, "EncryptThroughS3In"+title(c.Code), Strings{"kms:Decrypt", "kms:GenerateDataKey"}, encrypts))
	}
	return New(statements...)
}

// queryTables allows to find the tables of feeds in a stage's database; or all its tables, and to list them. Athena looks for the database
// default, too, whatever a query reads; no table of it can be found.
// https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html#full-access-to-default-db-per-region
func queryTables(c Country, sid, database string, with []access.Rule) Statement {
	catalog := "arn:aws:glue:" + c.Region + ":" + c.Account
	actions := Strings{"glue:BatchGetPartition", "glue:GetDatabase", "glue:GetPartition", "glue:GetPartitions", "glue:GetTable"}
	found := []string{catalog + ":catalog", catalog + ":database/default", catalog + ":database/" + database}
	if whole(with) {
		return allow(sid, append(actions, "glue:GetTables"), append(found, catalog+":table/"+database+"/*"))
	}
	for _, r := range with {
		found = append(found, catalog+":table/"+database+"/"+r.Feed)
	}
	return allow(sid, actions, unique(found))
}

// whole tells whether one of the rules is about its whole stage.
func whole(rules []access.Rule) bool {
	return slices.ContainsFunc(rules, func(r access.Rule) bool { return r.Prefix == "" })
}

// below are the patterns of all keys that rules are about, after a bucket.
func below(bucket string, rules []access.Rule) Strings {
	var patterns []string
	for _, r := range rules {
		patterns = append(patterns, bucket+r.Prefix+"*")
	}
	return unique(patterns)
}

// throughS3 allows uses of the key by S3 on behalf of the caller, and only for these buckets and objects. S3 names the bucket in the
// encryption context where a bucket key is used, and the object where not.
func throughS3(c Country, sid string, actions Strings, arns []string) Statement {
	s := allow(sid, actions, Strings{c.DataKeyARN})
	s.Condition = Condition{"StringEquals": {"kms:ViaService": {"s3." + c.Region + ".amazonaws.com"}},
		"StringLike": {"kms:EncryptionContext:aws:s3:arn": unique(arns)}}
	return s
}

// sealed allows a use of the key by the caller itself, for data keys that are bound to an object that rules are about whose files are
// encrypted by their sender; it is nothing without such rules.
func sealed(c Country, does, action string, with []access.Rule) []Statement {
	with = slices.DeleteFunc(slices.Clone(with), func(r access.Rule) bool { return !r.Sealed })
	if len(with) == 0 {
		return nil
	}
	s := allow(access.Sid(does, with), Strings{action}, Strings{c.DataKeyARN})
	s.Condition = Condition{"StringLike": {"kms:EncryptionContext:" + SealedObject: below("", with)}}
	return []Statement{s}
}

// FindCountries is what everybody of the access table sees of a stack: the names of its countries' parts in the account, by which the command
// sluice finds them. They open nothing, and a country that comes changes no role.
func FindCountries(account, stack string) Document { return New(findCountries(account, stack)) }

func findCountries(account, stack string) Statement {
	return allow("FindCountries", Strings{"ssm:GetParametersByPath"}, Strings{"arn:aws:ssm:*:" + account + ":parameter" + discovery.Path(stack)})
}

// Operator is what operators see of a stack, whatever countries it has: metrics, alarms, logs of functions and of the
// polling driver, clusters and runs. Names and
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
		allow("ReadFunctionAndDriverLogs", Strings{"logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents"},
			Strings{"arn:aws:logs:*:" + account + ":log-group:/aws/lambda/sluice-" + stack + "-*",
				"arn:aws:logs:*:" + account + ":log-group:/aws/vendedlogs/states/sluice-" + stack + "-*"}),
		findCountries(account, stack),
		allow("ReadAccessTable", Strings{"ssm:GetParametersByPath"}, Strings{"arn:aws:ssm:*:" + account + ":parameter" + access.Path(stack)}),
		clusters,
		serverless,
		allow("SeeGlueRuns", Strings{"glue:GetJobRun", "glue:GetJobRuns"}, Strings{"arn:aws:glue:*:" + account + ":job/sluice-" + stack + "-*"}),
	)
}

// OperatorIn is what operators see of one country: its ledger, its queues, the logs of its clusters, and the executions of its state
// machine where it is polled. The keys are those of the country's state and logs, which open no records, and only DynamoDB, S3 and Step
// Functions may use them for operators. An execution knows how many jobs move, and nothing of a record.
func OperatorIn(c Country) Document {
	key := allow("DecryptLedgerAndClusterLogsIn"+title(c.Region), Strings{"kms:Decrypt"}, Strings{c.StateKeyARN, c.LogsKeyARN})
	key.Condition = Condition{"StringEquals": {"kms:ViaService": {"dynamodb." + c.Region + ".amazonaws.com", "s3." + c.Region + ".amazonaws.com"}}}
	list := allow("FindClusterLogs", Strings{"s3:ListBucket"}, Strings{c.LogsARN})
	list.Condition = Condition{"StringLike": {"s3:prefix": {"emr*"}}}
	d := New(
		allow("ReadLedger", Strings{"dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"},
			Strings{c.FeedsARN, c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN}),
		key,
		allow("SeeQueues", Strings{"sqs:GetQueueAttributes", "sqs:GetQueueUrl"}, Strings{c.LandedARN, c.TicketsARN, c.DeadLettersARN}),
		list,
		allow("ReadClusterLogs", Strings{"s3:GetObject"}, Strings{c.LogsARN + "/emr/*", c.LogsARN + "/emr-serverless/*"}),
	)
	if c.PollingARN != "" {
		// https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
		history := allow("DecryptHistoryThroughStepFunctionsIn"+title(c.Code), Strings{"kms:Decrypt"}, Strings{c.StateKeyARN})
		history.Condition = Condition{"StringEquals": {"kms:ViaService": {"states." + c.Region + ".amazonaws.com"},
			"kms:EncryptionContext:aws:states:stateMachineArn": {c.PollingARN}}}
		d.Statement = append(d.Statement,
			allow("SeePolling", Strings{"states:DescribeStateMachine"}, Strings{c.PollingARN}),
			allow("FindPollingExecutions", Strings{"states:ListExecutions"}, listed(c.PollingARN)),
			allow("SeePollingExecutions", Strings{"states:DescribeExecution", "states:DescribeStateMachineForExecution", "states:GetExecutionHistory"}, executions(c.PollingARN)),
			history)
	}
	return d
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

// title is words between hyphens as one that a statement's id can have: UsEast1.
func title(words string) string {
	joined := ""
	for word := range strings.SplitSeq(words, "-") {
		joined += strings.ToUpper(word[:1]) + word[1:]
	}
	return joined
}

// unique sorts strings and drops those that are there twice.
func unique(list []string) Strings {
	sorted := slices.Sorted(slices.Values(list))
	return slices.Compact(sorted)
}
