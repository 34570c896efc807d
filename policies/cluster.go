package policies

// ClusterService is what EMR needs besides its managed policy AmazonEMRServicePolicy_v2: to hand the nodes their role, and to let
// EC2 use the country's key for their volumes.
func ClusterService(nodeRoleARN, keyARN string) Document {
	pass := allow("PassNodeRole", Strings{"iam:PassRole"}, Strings{nodeRoleARN})
	pass.Condition = Condition{"StringEquals": {"iam:PassedToService": {"ec2.amazonaws.com"}}}
	grant := allow("GrantVolumesCountryKey", Strings{"kms:CreateGrant"}, Strings{keyARN})
	grant.Condition = Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}}
	return New(pass, grant, allow("EncryptVolumes", Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Strings{keyARN}))
}

// Job is what the record job may do on its nodes: read what landed and its own artifacts, write the country's stages and their
// tables in the catalog, and claim its job in the ledger. Databases are the names of the stages' Glue databases.
func Job(c Country, databases ...string) Document {
	catalog := "arn:aws:glue:" + c.Region + ":" + c.Account
	tables := Strings{catalog + ":catalog"}
	for _, d := range databases {
		tables = append(tables, catalog+":database/"+d, catalog+":table/"+d+"/*")
	}
	stages := []string{c.ValidatedARN, c.InvalidARN, c.VersionedARN, c.CuratedARN}
	return New(
		allow("ReadLandedFiles", Strings{"s3:GetObject", "s3:GetObjectVersion"}, Strings{c.LandingARN + "/*"}),
		allow("ReadJobAndOrders", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/jobs/*", c.ArtifactsARN + "/runs/*"}),
		allow("ReadCertificate", Strings{"s3:GetObject"}, Strings{c.ArtifactsARN + "/cluster/certificate.zip"}),
		allow("WriteResults", Strings{"s3:PutObject"}, Strings{c.ArtifactsARN + "/runs/*"}),
		allow("FindObjects", Strings{"s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"}, append(Strings{c.LandingARN, c.ArtifactsARN, c.LogsARN}, stages...)),
		allow("WriteStages", Strings{"s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"}, each(stages, "/*")),
		allow("WriteClusterLogs", Strings{"s3:GetObject", "s3:PutObject"}, Strings{c.LogsARN + "/emr/*"}),
		allow("CommitTables", Strings{"glue:CreateTable", "glue:DeleteTable", "glue:GetDatabase", "glue:GetDatabases", "glue:GetTable", "glue:GetTables", "glue:UpdateTable"}, tables),
		allow("ClaimJob", Strings{"dynamodb:GetItem", "dynamodb:UpdateItem"}, Strings{c.JobsARN}),
		allow("UseCountryKey", Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncrypt*"}, Strings{c.KeyARN}),
	)
}
