package policies

// Job is what the record job may do on the nodes of a cluster: see recordJob, and what the nodes do themselves, which is reading their
// certificate and writing the cluster's logs.
func Job(c Country, databases ...string) Document {
	return recordJob(c, []Statement{
		allow("ReadCertificate", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/cluster/certificate.zip"}),
		allow("WriteClusterLogs", Strings{"s3:GetObject", "s3:PutObject"}, Strings{c.LogsARN + "/emr/*"}),
		useKeyForObjects("UseLogsKey", c.LogsKeyARN),
		allow("FindDefaultDatabase", Strings{"glue:GetDatabase"}, tables(c, "default")[:2]), // Hive asks for it when it starts
	}, databases)
}

// ServerlessJob is what the record job may do on EMR Serverless, which writes a run's logs with the run's own role.
func ServerlessJob(c Country, databases ...string) Document {
	return recordJob(c, []Statement{
		allow("WriteServerlessLogs", Strings{"s3:GetObject", "s3:PutObject"}, Strings{c.LogsARN + "/emr-serverless/*"}),
		useKeyForObjects("UseLogsKey", c.LogsKeyARN),
	}, databases)
}

// GlueJob is what the record job may do on Glue, which writes a run's logs with the run's own role. Log groups are the country's, by how
// their names begin.
func GlueJob(c Country, logGroupPrefix string, databases ...string) Document {
	return recordJob(c, glueRuntime(c, logGroupPrefix), databases)
}

// recordJob is what the record job may do wherever it runs: read what landed and its own artifacts, write the country's stages and their
// tables in the catalog, and claim its job in the ledger. Databases are the names of the stages' Glue databases.
func recordJob(c Country, logs []Statement, databases []string) Document {
	stages := []string{c.ValidatedARN, c.InvalidARN, c.VersionedARN, c.CuratedARN}
	statements := append([]Statement{
		allow("ReadLandedFiles", Strings{"s3:GetObject", "s3:GetObjectVersion"}, Strings{c.LandingARN + "/*"}),
		allow("ReadJobAndOrders", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/jobs/*", c.ArtifactsARN + "/runs/*"}),
		allow("WriteResults", Strings{"s3:PutObject"}, Strings{c.ArtifactsARN + "/runs/*"}),
		allow("FindObjects", Strings{"s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"}, append(Strings{c.LandingARN, c.ArtifactsARN, c.LogsARN}, stages...)),
		allow("WriteStages", Strings{"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"}, each(stages, "/*")),
	}, logs...)
	return New(append(statements,
		allow("CommitTables", Strings{"glue:CreateTable", "glue:DeleteTable", "glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:UpdateTable"}, tables(c, databases...)),
		allow("ClaimJob", Strings{"dynamodb:GetItem", "dynamodb:UpdateItem"}, Strings{c.JobsARN}),
		useKeyForObjects("UseDataKey", c.DataKeyARN),
		allow("DecryptLedger", Strings{"kms:Decrypt"}, Strings{c.StateKeyARN}),
	)...)
}

// UpkeepJob is what the nightly upkeep may do: drop old snapshots of the stages' tables, and the files that only those needed.
func UpkeepJob(c Country, logGroupPrefix string, databases ...string) Document {
	stages := []string{c.ValidatedARN, c.InvalidARN, c.VersionedARN, c.CuratedARN}
	return New(append(glueRuntime(c, logGroupPrefix),
		allow("ReadJob", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/jobs/*"}),
		allow("FindObjects", Strings{"s3:GetBucketLocation", "s3:ListBucket"}, append(Strings{c.ArtifactsARN}, stages...)),
		allow("RewriteMetadataAndDropFiles", Strings{"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"}, each(stages, "/*")),
		allow("CommitTables", Strings{"glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:UpdateTable"}, tables(c, databases...)),
		useKeyForObjects("UseDataKey", c.DataKeyARN),
	)...)
}

// Crawler is what the crawler of landed files may do: read them, and describe them in the catalog of their own stage.
func Crawler(c Country, database string) Document {
	return New(
		allow("ReadLandedFiles", Strings{"s3:GetObject"}, Strings{c.LandingARN + "/*"}),
		allow("FindLandedFiles", Strings{"s3:GetBucketLocation", "s3:ListBucket"}, Strings{c.LandingARN}),
		allow("DescribeLandedFiles", Strings{"glue:BatchCreatePartition", "glue:BatchGetPartition", "glue:BatchUpdatePartition", "glue:CreatePartition", "glue:CreateTable", "glue:GetDatabase",
			"glue:GetPartition", "glue:GetPartitions", "glue:GetTable", "glue:GetTables", "glue:UpdatePartition", "glue:UpdateTable"}, tables(c, database)),
		// A crawler makes its log group itself and names it after its role and its security configuration.
		glueLogs(c, "/aws-glue/crawlers"),
		securityConfiguration(),
		allow("UseDataKey", Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"}, Strings{c.DataKeyARN}),
	)
}

// glueRuntime is what Glue itself does with the role of a job.
func glueRuntime(c Country, logGroupPrefix string) []Statement {
	return []Statement{glueLogs(c, logGroupPrefix), securityConfiguration()}
}

// glueLogs allows writing the log groups whose names begin so, and putting the country's key on those that Glue makes itself.
func glueLogs(c Country, prefix string) Statement {
	return allow("WriteGlueLogs", Strings{"logs:AssociateKmsKey", "logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"},
		Strings{"arn:aws:logs:" + c.Region + ":" + c.Account + ":log-group:" + prefix + "*"})
}

// securityConfiguration allows Glue to look up what to encrypt with.
func securityConfiguration() Statement {
	return allow("ReadSecurityConfiguration", Strings{"glue:GetSecurityConfiguration"}, Strings{"*"}) // the action knows no resource
}

// tables are the ARNs of databases with their tables, and of the catalog, which every call on either names too.
func tables(c Country, databases ...string) Strings {
	catalog := "arn:aws:glue:" + c.Region + ":" + c.Account
	arns := Strings{catalog + ":catalog"}
	for _, d := range databases {
		arns = append(arns, catalog+":database/"+d, catalog+":table/"+d+"/*")
	}
	return arns
}

// useKeyForObjects allows what writing and reading encrypted objects takes, in parts as well.
func useKeyForObjects(sid, keyARN string) Statement {
	return allow(sid, Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncrypt*"}, Strings{keyARN})
}
