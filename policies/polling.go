package policies

// Polling is what the polling driver's state machine may do: invoke the functions that do the work, and find and start executions of itself.
// Its history is encrypted with the key of state.
// https://docs.aws.amazon.com/step-functions/latest/dg/encryption-at-rest.html
func Polling(account, region, stateMachineARN, stateKeyARN string, functionARNs ...string) Document {
	use := allow("EncryptHistory", Strings{"kms:Decrypt", "kms:GenerateDataKey"}, Strings{stateKeyARN})
	use.Condition = Condition{"StringEquals": {"kms:EncryptionContext:aws:states:stateMachineArn": {stateMachineARN}}}
	log := allow("EncryptLog", Strings{"kms:GenerateDataKey"}, Strings{stateKeyARN})
	log.Condition = Condition{"StringEquals": {"kms:EncryptionContext:SourceArn": {"arn:aws:logs:" + region + ":" + account + ":*"}}}
	return New(
		allow("DoTheWork", Strings{"lambda:InvokeFunction"}, functionARNs),
		allow("FindAndStartItself", Strings{"states:ListExecutions", "states:StartExecution"}, Strings{stateMachineARN}),
		use, log,
		// The delivery of logs knows no resource: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
		allow("DeliverLog", Strings{"logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies",
			"logs:GetLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery"}, Strings{"*"}),
	)
}

// StartPolling is what the rule may do that starts the polling driver.
func StartPolling(stateMachineARN string) Document {
	return New(allow("StartPolling", Strings{"states:StartExecution"}, Strings{stateMachineARN}))
}
