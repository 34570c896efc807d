package policies

import "strings"

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
		allow("FindItself", Strings{"states:ListExecutions"}, listed(stateMachineARN)),
		allow("StartItself", Strings{"states:StartExecution"}, Strings{stateMachineARN}),
		use, log,
		// The delivery of logs knows no resource: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
		allow("DeliverLog", Strings{"logs:CreateLogDelivery", "logs:DeleteLogDelivery", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies",
			"logs:GetLogDelivery", "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:UpdateLogDelivery"}, Strings{"*"}),
	)
}

// executions are those of a state machine, of either type: the right to look at one is about both.
func executions(stateMachineARN string) Strings {
	return Strings{strings.Replace(stateMachineARN, ":stateMachine:", ":execution:", 1) + ":*", strings.Replace(stateMachineARN, ":stateMachine:", ":express:", 1) + ":*"}
}

// listed is what the right to list a state machine's executions is about: the machine, and its map runs.
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
func listed(stateMachineARN string) Strings {
	return Strings{stateMachineARN, strings.Replace(stateMachineARN, ":stateMachine:", ":mapRun:", 1) + "/*"}
}

// StartPolling is what the rule may do that starts the polling driver.
func StartPolling(stateMachineARN string) Document {
	return New(allow("StartPolling", Strings{"states:StartExecution"}, Strings{stateMachineARN}))
}
