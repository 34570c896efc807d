package policies

import (
	"github.com/sluice-data/sluice/internal/compute"
	"github.com/sluice-data/sluice/internal/discovery"
)

// Country is the ARNs, and the few names, that the documents of one country's functions and jobs are made of.
type Country struct {
	Account, Region, Stack, Code string

	DataKeyARN, StateKeyARN, LogsKeyARN string // keys of records, of everything that tells about jobs, and of logs

	LandingARN, ValidatedARN, InvalidARN, VersionedARN, CuratedARN, ArtifactsARN, LogsARN string // buckets

	FeedsARN, JobsARN, RunsARN, FilesARN, ProgressARN string // tables

	LandedARN, TicketsARN, DeadLettersARN string // queues

	JobsTopicARN, AlertsTopicARN string

	ClusterServiceRoleARN, ClusterNodeRoleARN string

	ServerlessARN, ServerlessRoleARN string // the application on EMR Serverless, and the role of its runs
	GlueJobARN                       string
	PollingARN                       string // PollingARN is the polling driver's state machine; "" where there is none.
}

// Function is the document of the function called name ("receive-file"): its own work, where it reads what is deployed, its log, the key of
// ledger and messages, and the places that take what it could not do. It is false for a name that has no document.
func Function(name, logGroupARN string, c Country) (Document, bool) {
	work, ok := map[string]func(Country) []Statement{
		"receive-file": receiveFile,
		"queue-jobs":   queueJobs,
		"start-jobs":   startJobs,
		"finish-job":   finishJob,
		"export-table": exportTable,

		"publish-cpu":      publishCPU,
		"stop-cluster":     stopCluster,
		"keep-certificate": keepCertificate,

		"tell-fault": tellFault,
	}[name]
	if !ok {
		return Document{}, false
	}
	statements := append(work(c), readDocument(c), logs(logGroupARN), useKey("UseStateKey", c.StateKeyARN), allow("KeepFailedEvent", Strings{"sqs:SendMessage"}, Strings{c.DeadLettersARN}))
	if name != "tell-fault" { // which would tell itself that it cannot tell
		statements = append(statements, allow("ReportFailure", Strings{"lambda:InvokeFunction"},
			Strings{"arn:aws:lambda:" + c.Region + ":" + c.Account + ":function:sluice-" + c.Stack + "-" + c.Code + "-tell-fault"}))
	}
	return New(statements...), true
}

// receiveFile takes the events of landed files, records the files, and readies the job of a day that is complete.
func receiveFile(c Country) []Statement {
	return append(takeIn(c), allow("TakeEvents", Strings{"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}, Strings{c.LandedARN}))
}

// takeIn records what landed, and readies the job of a day that is complete.
func takeIn(c Country) []Statement {
	return []Statement{
		findLandedFiles(c),
		readLedger(c),
		writeTables("RecordFilesAndJobs", c.JobsARN, c.FilesARN),
		updateTables("RecordProgress", c.ProgressARN),
		allow("SendTickets", Strings{"sqs:SendMessage"}, Strings{c.TicketsARN}),
		publish("AnnounceJobsAndAlert", c.JobsTopicARN, c.AlertsTopicARN),
	}
}

// queueJobs does the same for files whose event got lost, opens the days whose window ended, and looks at what runs left.
func queueJobs(c Country) []Statement {
	return append(append(takeIn(c), forget(c)), readRuns(c)...)
}

// startJobs takes tickets and sends them anew, readies the jobs whose time has come, and finds or starts the clusters, steps and job runs of their jobs.
func startJobs(c Country) []Statement {
	clusters := "arn:aws:elasticmapreduce:" + c.Region + ":" + c.Account + ":cluster/"
	ownTags := Condition{"StringEquals": {"aws:RequestTag/Stack": {c.Stack}, "aws:RequestTag/Country": {c.Code}}}
	start := allow("StartTaggedClusters", Strings{"elasticmapreduce:RunJobFlow"}, Strings{"*"}) // RunJobFlow knows no resource before the cluster exists
	start.Condition = ownTags
	// Who starts a cluster with tags and limits may also give it these. EMR asks that before the cluster has an id, of the resource cluster/*,
	// and knows the request's tags for AddTags only; limits know those of a cluster that is there.
	// https://docs.aws.amazon.com/emr/latest/ManagementGuide/emr-fine-grained-cluster-access.html
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticmapreduce.html
	tag := allow("TagStartedClusters", Strings{"elasticmapreduce:AddTags"}, Strings{clusters + "*"})
	tag.Condition = ownTags
	limits := Strings{"elasticmapreduce:PutAutoTerminationPolicy", "elasticmapreduce:PutManagedScalingPolicy"}
	limit := allow("LimitStartedClusters", limits, Strings{clusters + "*"})
	// Every cluster that is there has an id that begins so, and keeps tags and limits: a role that may tag one makes it the country's own, and may
	// then run code on it, with the role of its nodes.
	leave := deny("LeaveTagsAndLimitsOfClusters", append(Strings{"elasticmapreduce:AddTags"}, limits...), Strings{clusters + "j-*"})
	pass := allow("PassClusterRoles", Strings{"iam:PassRole"}, Strings{c.ClusterServiceRoleARN, c.ClusterNodeRoleARN})
	pass.Condition = Condition{"StringEquals": {"iam:PassedToService": {"ec2.amazonaws.com", "elasticmapreduce.amazonaws.com"}}}
	passServerless := allow("PassServerlessRole", Strings{"iam:PassRole"}, Strings{c.ServerlessRoleARN})
	passServerless.Condition = Condition{"StringEquals": {"iam:PassedToService": {"emr-serverless.amazonaws.com"}}}
	return append(readRuns(c),
		findLandedFiles(c),
		readLedger(c),
		writeTables("RecordRuns", c.RunsARN),
		updateTables("RecordJobsAndProgress", c.JobsARN, c.ProgressARN),
		forget(c),
		allow("ReadSwitch", Strings{"ssm:GetParametersByPath"}, Strings{"arn:aws:ssm:" + c.Region + ":" + c.Account + ":parameter/sluice/" + c.Stack + "/compute/" + c.Code}),
		allow("TakeTickets", Strings{"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage"}, Strings{c.TicketsARN}),
		allow("ReadTemplateAndContracts", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/cluster/template.json", c.ArtifactsARN + "/contracts/*"}),
		publish("Alert", c.AlertsTopicARN),
		allow("WriteOrders", Strings{"s3:PutObject"}, Strings{c.ArtifactsARN + "/runs/*"}),
		findClusters(),
		start,
		tag,
		limit,
		leave,
		ownClusters(c, "RunStepsOnOwnClusters", "elasticmapreduce:AddJobFlowSteps", "elasticmapreduce:CancelSteps", "elasticmapreduce:DescribeCluster",
			"elasticmapreduce:DescribeStep", "elasticmapreduce:ListSteps"),
		pass,
		// Without its role EMR ends the first cluster of an account with VALIDATION_ERROR.
		// https://docs.aws.amazon.com/emr/latest/ManagementGuide/using-service-linked-roles-cleanup.html
		serviceLinkedRole("MakeCleanupRole", c.Account, "elasticmapreduce.amazonaws.com", "AWSServiceRoleForEMRCleanup"),
		allow("RunOnOwnApplication", Strings{"emr-serverless:ListJobRuns", "emr-serverless:StartJobRun", "emr-serverless:TagResource"}, Strings{c.ServerlessARN, c.ServerlessARN + "/jobruns/*"}),
		allow("LookAfterServerlessRuns", Strings{"emr-serverless:CancelJobRun", "emr-serverless:GetJobRun"}, Strings{c.ServerlessARN + "/jobruns/*"}),
		passServerless,
		useKey("UseLogsKey", c.LogsKeyARN), // EMR Serverless takes no run from who may not use the key of its logs
		allow("CheckKeyOfServerlessDisks", Strings{"kms:DescribeKey"}, Strings{c.DataKeyARN}), // EMR Serverless looks at it with the rights of who starts a run
		allow("RunOwnGlueJob", Strings{"glue:BatchStopJobRun", "glue:GetJobRun", "glue:GetJobRuns", "glue:StartJobRun"}, Strings{c.GlueJobARN}),
	)
}

// finishJob records how a run ended, takes its ticket off the queue, and announces it.
func finishJob(c Country) []Statement {
	return append(readRuns(c),
		findLandedFiles(c),
		readLedger(c),
		updateTables("RecordOutcome", c.JobsARN, c.RunsARN, c.ProgressARN),
		writeTables("RecordFiles", c.FilesARN), // those that came to a day while it was retracted
		forget(c),
		allow("ReplaceTickets", Strings{"sqs:DeleteMessage", "sqs:SendMessage"}, Strings{c.TicketsARN}),
		ownClusters(c, "LookAtOwnClusters", "elasticmapreduce:DescribeCluster", "elasticmapreduce:DescribeStep"),
		allow("LookAtServerlessRuns", Strings{"emr-serverless:GetJobRun"}, Strings{c.ServerlessARN + "/jobruns/*"}),
		allow("LookAtGlueRuns", Strings{"glue:GetJobRun"}, Strings{c.GlueJobARN}),
		publish("AnnounceJobsAndAlert", c.JobsTopicARN, c.AlertsTopicARN),
	)
}

// exportTable copies a day's curated files out; what it may do at Google is Google's to say.
func exportTable(c Country) []Statement {
	return append(ReadPrefix(c.CuratedARN, ""),
		useKey("UseDataKey", c.DataKeyARN),
		allow("ReadJobs", Strings{"dynamodb:GetItem"}, Strings{c.JobsARN}),
		updateTables("RecordExport", c.JobsARN),
		forget(c))
}

// publishCPU looks at the country's clusters, and publishes what their machines do.
func publishCPU(c Country) []Statement {
	put := allow("PublishMetrics", Strings{"cloudwatch:PutMetricData"}, Strings{"*"}) // PutMetricData knows no resource
	put.Condition = Condition{"StringEquals": {"cloudwatch:namespace": {"Sluice"}}}
	return []Statement{
		findClusters(),
		ownClusters(c, "FindMachinesOfOwnClusters", "elasticmapreduce:ListInstances"),
		allow("ReadMetrics", Strings{"cloudwatch:GetMetricData"}, Strings{"*"}), // GetMetricData knows no resource
		put,
	}
}

// stopCluster ends the country's clusters, and records it.
func stopCluster(c Country) []Statement {
	parameters := "arn:aws:ssm:" + c.Region + ":" + c.Account + ":parameter"
	return []Statement{
		findClusters(),
		ownClusters(c, "EndOwnClusters", "elasticmapreduce:ListSteps", "elasticmapreduce:TerminateJobFlows"),
		allow("StopOwnApplication", Strings{"emr-serverless:GetApplication", "emr-serverless:ListJobRuns", "emr-serverless:StopApplication"}, Strings{c.ServerlessARN}),
		allow("CancelServerlessRuns", Strings{"emr-serverless:CancelJobRun"}, Strings{c.ServerlessARN + "/jobruns/*"}),
		readLedger(c),
		updateTables("CloseClusters", c.ProgressARN),
		allow("SwitchOffStandingCluster", Strings{"ssm:PutParameter"},
			Strings{parameters + compute.ParameterName(c.Stack, c.Code, compute.Standing), parameters + compute.EndedName(c.Stack, c.Code)}),
		publish("Alert", c.AlertsTopicARN),
	}
}

// keepCertificate writes the certificate of the clusters' nodes, which it cannot read.
func keepCertificate(c Country) []Statement {
	return []Statement{
		allow("WriteCertificate", Strings{"s3:PutObject"}, Strings{c.ArtifactsARN + "/cluster/certificate.zip"}),
		allow("EncryptCertificate", Strings{"kms:GenerateDataKey"}, Strings{c.DataKeyARN}),
	}
}

// tellFault tells people of failures, and remembers that it did.
func tellFault(c Country) []Statement {
	return []Statement{
		allow("RememberFaults", Strings{"dynamodb:GetItem", "dynamodb:UpdateItem"}, Strings{c.ProgressARN}),
		publish("Alert", c.AlertsTopicARN),
	}
}

// readDocument allows reading the country's discovery document, in every version: a right names a parameter without one.
func readDocument(c Country) Statement {
	return allow("ReadDocument", Strings{"ssm:GetParameter"}, Strings{"arn:aws:ssm:" + c.Region + ":" + c.Account + ":parameter" + discovery.ParameterName(c.Stack, c.Code)})
}

// findClusters allows finding clusters by their names.
func findClusters() Statement {
	return allow("FindClusters", Strings{"elasticmapreduce:ListClusters"}, Strings{"*"}) // ListClusters knows no resource
}

// findLandedFiles allows listing what landed, with its versions, but not reading it.
func findLandedFiles(c Country) Statement {
	return allow("FindLandedFiles", Strings{"s3:ListBucket", "s3:ListBucketVersions"}, Strings{c.LandingARN})
}

// readRuns allows reading what runs wrote, under the key of records, and learning that they wrote nothing.
func readRuns(c Country) []Statement {
	return []Statement{
		useKey("UseDataKey", c.DataKeyARN),
		allow("ReadRuns", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/runs/*"}),
		allow("FindRuns", Strings{"s3:ListBucket"}, Strings{c.ArtifactsARN}),
	}
}

// readLedger allows reading the whole ledger.
func readLedger(c Country) Statement {
	return allow("ReadLedger", Strings{"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"},
		Strings{c.FeedsARN, c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN})
}

// writeTables allows conditional writes of whole items; a transaction needs no more.
func writeTables(sid string, tableARNs ...string) Statement {
	return allow(sid, Strings{"dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}, tableARNs)
}

// updateTables allows conditional changes of items.
func updateTables(sid string, tableARNs ...string) Statement {
	return allow(sid, Strings{"dynamodb:ConditionCheckItem", "dynamodb:UpdateItem"}, tableARNs)
}

// forget allows taking out of the jobs table what stands there beside the jobs: that one is open, and what was told. No job can be removed.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
func forget(c Country) Statement {
	s := allow("ForgetOpenJobsAndNotices", Strings{"dynamodb:DeleteItem"}, Strings{c.JobsARN})
	s.Condition = Condition{"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": {"#open", "#outbox"}}}
	return s
}

// ownClusters allows actions on the clusters that carry the country's tags.
func ownClusters(c Country, sid string, actions ...string) Statement {
	s := allow(sid, actions, Strings{"arn:aws:elasticmapreduce:" + c.Region + ":" + c.Account + ":cluster/*"})
	s.Condition = Condition{"StringEquals": {"aws:ResourceTag/Stack": {c.Stack}, "aws:ResourceTag/Country": {c.Code}}}
	return s
}
