package policies

// ReadPrefix allows reading the objects below prefix, and finding them.
func ReadPrefix(bucketARN, prefix string) []Statement {
	list := allow("ReadPrefixList", Strings{"s3:ListBucket"}, Strings{bucketARN})
	if prefix != "" {
		list.Condition = Condition{"StringLike": {"s3:prefix": {prefix + "*"}}}
	}
	return []Statement{list, allow("ReadPrefixObjects", Strings{"s3:GetObject", "s3:GetObjectVersion"}, Strings{bucketARN + "/" + prefix + "*"})}
}

// logs allows a function to write to its own log group.
func logs(logGroupARN string) Statement {
	return allow("WriteOwnLog", Strings{"logs:CreateLogStream", "logs:PutLogEvents"}, Strings{logGroupARN + ":*"})
}

// useKey allows encrypting and decrypting under one of the country's keys.
func useKey(sid, keyARN string) Statement {
	return allow(sid, Strings{"kms:Decrypt", "kms:GenerateDataKey"}, Strings{keyARN})
}

// publish allows publishing to topics.
func publish(sid string, topicARNs ...string) Statement {
	return allow(sid, Strings{"sns:Publish"}, topicARNs)
}
