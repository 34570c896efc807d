package policies

// ClusterService is what EMR needs besides its managed policy AmazonEMRServicePolicy_v2: to hand the nodes their role, and to let
// EC2 use the key of records for their volumes.
func ClusterService(nodeRoleARN, keyARN string) Document {
	pass := allow("PassNodeRole", Strings{"iam:PassRole"}, Strings{nodeRoleARN})
	pass.Condition = Condition{"StringEquals": {"iam:PassedToService": {"ec2.amazonaws.com"}}}
	grant := allow("GrantVolumesDataKey", Strings{"kms:CreateGrant"}, Strings{keyARN})
	grant.Condition = Condition{"Bool": {"kms:GrantIsForAWSResource": {"true"}}}
	return New(pass, grant, allow("EncryptVolumes", Strings{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"}, Strings{keyARN}))
}
