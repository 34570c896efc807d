package policies

// ClusterService is what EMR needs besides its managed policy AmazonEMRServicePolicy_v2: to hand the nodes their role, to let EC2 use the
// key of records for their volumes, and to make EC2's role for spot instances in an account that never used any.
func ClusterService(account, nodeRoleARN, keyARN string) Document {
	pass := allow("PassNodeRole", Strings{"iam:PassRole"}, Strings{nodeRoleARN})
	pass.Condition = Condition{"StringEquals": {"iam:PassedToService": {"ec2.amazonaws.com"}}}
	grant := allow("GrantVolumesDataKey", Strings{"kms:CreateGrant"}, Strings{keyARN})
	grant.Condition = Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}}
	return New(pass, grant, allow("EncryptVolumes", Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Strings{keyARN}),
		serviceLinkedRole("MakeSpotRole", account, "spot.amazonaws.com", "AWSServiceRoleForEC2Spot"))
}

// serviceLinkedRole allows making the role that a service has in an account, which it wants its first caller to be allowed.
func serviceLinkedRole(sid, account, service, role string) Statement {
	s := allow(sid, Strings{"iam:CreateServiceLinkedRole"}, Strings{"arn:aws:iam::" + account + ":role/aws-service-role/" + service + "/" + role + "*"})
	s.Condition = Condition{"StringEquals": {"iam:AWSServiceName": {service}}}
	return s
}
