package policies

// Country is the ARNs, and the few names, that the documents of one country's functions and jobs are made of.
type Country struct {
	Account, Region, Stack, Code string

	KeyARN string

	LandingARN, ValidatedARN, InvalidARN, VersionedARN, CuratedARN, ArtifactsARN, LogsARN string // buckets

	FeedsARN, JobsARN, RunsARN, FilesARN, ProgressARN string // tables

	TicketsARN, DeadLettersARN string // queues

	JobsTopicARN, AlertsTopicARN string

	ClusterServiceRoleARN, ClusterNodeRoleARN string
}

// Function is the document of the function called name ("receive-file"): its own work, its log, the country's key, and the places
// that take what it could not do. It is false for a name that has no document.
func Function(name, logGroupARN string, c Country) (Document, bool) {
	work, ok := map[string]func(Country) []Statement{
		"receive-file": receiveFile,
		"queue-jobs":   queueJobs,
		"start-jobs":   startJobs,
		"finish-job":   finishJob,
		"export-table": exportTable,
	}[name]
	if !ok {
		return Document{}, false
	}
	return New(append(work(c), logs(logGroupARN), useKey(c.KeyARN), publish("ReportFailure", c.AlertsTopicARN),
		allow("KeepFailedEvent", Strings{"sqs:SendMessage"}, Strings{c.DeadLettersARN}))...), true
}

// receiveFile records a landed file, and readies its job when the day is complete.
func receiveFile(c Country) []Statement {
	return append(ReadPrefix(c.LandingARN, ""), readyJobs(c)...)
}

// queueJobs does the same for files whose event got lost, and opens the days whose window ended.
func queueJobs(c Country) []Statement {
	return append(ReadPrefix(c.LandingARN, ""), readyJobs(c)...)
}

// readyJobs is what creating a job and making it ready takes.
func readyJobs(c Country) []Statement {
	return []Statement{
		readTables("ReadLedger", c.FeedsARN, c.JobsARN, c.FilesARN, c.ProgressARN),
		writeTables("RecordFilesAndJobs", c.JobsARN, c.FilesARN),
		allow("SendTickets", Strings{"sqs:GetQueueAttributes", "sqs:SendMessage"}, Strings{c.TicketsARN}),
		publish("AnnounceJobs", c.JobsTopicARN),
	}
}

// startJobs takes tickets, and finds or starts the clusters and steps of their jobs.
func startJobs(c Country) []Statement {
	cluster := "arn:aws:elasticmapreduce:" + c.Region + ":" + c.Account + ":cluster/*"
	tagged := Condition{"StringEquals": {"aws:ResourceTag/Stack": {c.Stack}, "aws:ResourceTag/Country": {c.Code}}}
	start := allow("StartTaggedClusters", Strings{"elasticmapreduce:AddTags", "elasticmapreduce:RunJobFlow"}, Strings{"*"}) // RunJobFlow knows no resource before the cluster exists
	start.Condition = Condition{"StringEquals": {"aws:RequestTag/Stack": {c.Stack}, "aws:RequestTag/Country": {c.Code}}}
	steps := allow("RunStepsOnOwnClusters", Strings{"elasticmapreduce:AddJobFlowSteps", "elasticmapreduce:CancelSteps", "elasticmapreduce:DescribeCluster",
		"elasticmapreduce:DescribeStep", "elasticmapreduce:ListSteps"}, Strings{cluster})
	steps.Condition = tagged
	pass := allow("PassClusterRoles", Strings{"iam:PassRole"}, Strings{c.ClusterServiceRoleARN, c.ClusterNodeRoleARN})
	pass.Condition = Condition{"StringEquals": {"iam:PassedToService": {"ec2.amazonaws.com", "elasticmapreduce.amazonaws.com"}}}
	return []Statement{
		readTables("ReadLedger", c.FeedsARN, c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN),
		writeTables("RecordRuns", c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN),
		allow("TakeTickets", Strings{"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"}, Strings{c.TicketsARN}),
		allow("ReadTemplateAndContracts", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/cluster/*", c.ArtifactsARN + "/contracts/*"}),
		allow("WriteOrders", Strings{"s3:GetObject", "s3:PutObject"}, Strings{c.ArtifactsARN + "/runs/*"}),
		allow("FindClusters", Strings{"elasticmapreduce:ListClusters"}, Strings{"*"}), // ListClusters knows no resource
		start, steps, pass,
	}
}

// finishJob records how a run ended, takes its ticket off the queue, and announces it.
func finishJob(c Country) []Statement {
	describe := allow("LookAtOwnClusters", Strings{"elasticmapreduce:DescribeCluster", "elasticmapreduce:DescribeStep", "elasticmapreduce:ListSteps"},
		Strings{"arn:aws:elasticmapreduce:" + c.Region + ":" + c.Account + ":cluster/*"})
	describe.Condition = Condition{"StringEquals": {"aws:ResourceTag/Stack": {c.Stack}, "aws:ResourceTag/Country": {c.Code}}}
	return []Statement{
		readTables("ReadLedger", c.FeedsARN, c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN),
		writeTables("RecordOutcome", c.JobsARN, c.RunsARN, c.FilesARN, c.ProgressARN),
		allow("RemoveTickets", Strings{"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:SendMessage"}, Strings{c.TicketsARN}),
		allow("ReadResults", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/runs/*"}),
		allow("FindResults", Strings{"s3:ListBucket"}, Strings{c.ArtifactsARN}),
		describe, publish("AnnounceJobs", c.JobsTopicARN),
	}
}

// exportTable copies a day's curated files out; what it may do at Google is Google's to say.
func exportTable(c Country) []Statement {
	return append(ReadPrefix(c.CuratedARN, ""),
		readTables("ReadLedger", c.FeedsARN, c.JobsARN),
		writeTables("RecordExport", c.JobsARN))
}

func readTables(sid string, tableARNs ...string) Statement {
	return allow(sid, Strings{"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"}, tableARNs)
}

func writeTables(sid string, tableARNs ...string) Statement {
	return allow(sid, Strings{"dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}, tableARNs)
}
