package infra

import (
	"encoding/json"
	"strconv"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/iam"
	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/sfn"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/policies"
)

// PollingArgs is what a Polling is made of.
type PollingArgs struct {
	MachineName string               // MachineName is the state machine's physical name.
	Account     string               // Account is the AWS account.
	Region      string               // Region is where the state machine is.
	Functions   map[string]*Function // Functions are the country's functions by folder: start-jobs, queue-jobs and stop-cluster do the work.
	Minutes     int                  // Minutes is how often files are looked for while no job moves, 15 by default.
	KeyARN      pulumi.StringInput   // KeyARN is the key that definition and history are encrypted with.
	LogKeyARN   pulumi.StringInput   // LogKeyARN is the key that the log is encrypted with.
	LogDays     int                  // LogDays is how long the log is kept, 30 by default.
	Tags        map[string]string    // Tags go on everything that takes tags.
}

// Polling is the polling driver: a state machine that has the functions look at the ledger, the engines and the landing bucket every ten
// seconds, as long as a job goes on by itself, and then has the standing cluster ended. A schedule starts it; while one execution polls,
// another ends at once.
type Polling struct {
	pulumi.ResourceState

	ARN     pulumi.StringOutput // ARN is the state machine's.
	Minutes int                 // Minutes is how often the schedule starts it.
}

// PollingName is the name of a country's state machine, below the prefix of its physical names.
func PollingName(prefix string) string { return prefix + "-polling" }

func stateMachineARN(account, region, name string) string {
	return "arn:aws:states:" + region + ":" + account + ":stateMachine:" + name
}

// NewPolling creates a Polling.
func NewPolling(ctx *pulumi.Context, name string, args *PollingArgs, opts ...pulumi.ResourceOption) (*Polling, error) {
	p := &Polling{Minutes: withDefault(args.Minutes, DefaultSweepMinutes)}
	if err := register(ctx, "sluice:compute:Polling", name, p, opts); err != nil {
		return nil, err
	}
	// Its own name, not its output: the role names the machine, and the machine its role.
	arn := stateMachineARN(args.Account, args.Region, args.MachineName)
	start, look, stop := args.Functions[StartJobs].ARN, args.Functions[QueueJobs].ARN, args.Functions[StopCluster].ARN
	role, access, err := p.role(ctx, name, args, policies.AssumedByStateMachines(args.Account, args.Region), document(func(s []string) policies.Document {
		return policies.Polling(args.Account, args.Region, arn, s[0], s[1:]...)
	}, args.KeyARN, look, start, stop))
	if err != nil {
		return nil, err
	}
	log, err := cloudwatch.NewLogGroup(ctx, name, &cloudwatch.LogGroupArgs{
		Name:            pulumi.String("/aws/vendedlogs/states/" + args.MachineName), // what begins so needs no entry in the account's one policy of log groups
		RetentionInDays: pulumi.Int(withDefault(args.LogDays, 30)),
		KmsKeyId:        args.LogKeyARN.ToStringOutput().ToStringPtrOutput(),
		Tags:            tagged(args.Tags),
	}, pulumi.Parent(p))
	if err != nil {
		return nil, err
	}
	machine, err := sfn.NewStateMachine(ctx, name, &sfn.StateMachineArgs{
		Name:    pulumi.String(args.MachineName),
		RoleArn: role.Arn,
		Type:    pulumi.String("STANDARD"),
		Definition: pulumi.All(start, look, stop).ApplyT(func(arns []any) (string, error) {
			return pollingDefinition(arns[0].(string), arns[1].(string), arns[2].(string))
		}).(pulumi.StringOutput),
		EncryptionConfiguration: &sfn.StateMachineEncryptionConfigurationArgs{Type: pulumi.String("CUSTOMER_MANAGED_KMS_KEY"),
			KmsKeyId: args.KeyARN.ToStringOutput().ToStringPtrOutput(), KmsDataKeyReusePeriodSeconds: pulumi.Int(900)}, // the longest: each new one is a call to KMS
		LoggingConfiguration: &sfn.StateMachineLoggingConfigurationArgs{Level: pulumi.String("ERROR"), IncludeExecutionData: pulumi.Bool(true), // counts, no records
			LogDestination: pulumi.Sprintf("%s:*", log.Arn)},
		Tags: tagged(args.Tags),
	}, pulumi.Parent(p), pulumi.DependsOn([]pulumi.Resource{access})) // Step Functions checks that the role may deliver the log
	if err != nil {
		return nil, err
	}
	p.ARN = machine.Arn
	if err := p.schedule(ctx, name+"-start", args, arn); err != nil {
		return nil, err
	}
	return p, ctx.RegisterResourceOutputs(p, pulumi.Map{"arn": p.ARN})
}

// role creates a role that a service takes, and what it may do.
func (p *Polling) role(ctx *pulumi.Context, name string, args *PollingArgs, trusted policies.Document, policy pulumi.StringInput) (*iam.Role, *iam.RolePolicy, error) {
	trust, err := trusted.JSON()
	if err != nil {
		return nil, nil, err
	}
	role, err := iam.NewRole(ctx, name, &iam.RoleArgs{AssumeRolePolicy: pulumi.String(trust), Tags: tagged(args.Tags)}, pulumi.Parent(p))
	if err != nil {
		return nil, nil, err
	}
	access, err := iam.NewRolePolicy(ctx, name, &iam.RolePolicyArgs{Role: role.Name, Policy: policy}, pulumi.Parent(p))
	return role, access, err
}

// schedule has the state machine started.
func (p *Polling) schedule(ctx *pulumi.Context, name string, args *PollingArgs, arn string) error {
	policy, err := policies.StartPolling(arn).JSON()
	if err != nil {
		return err
	}
	role, access, err := p.role(ctx, name, args, policies.AssumedByRules(args.Account, args.Region), pulumi.String(policy))
	if err != nil {
		return err
	}
	rule, err := cloudwatch.NewEventRule(ctx, name, &cloudwatch.EventRuleArgs{Description: pulumi.String("Polls the country's jobs, unless that is being done"),
		ScheduleExpression: every(p.Minutes), Tags: tagged(args.Tags)}, pulumi.Parent(p))
	if err != nil {
		return err
	}
	_, err = cloudwatch.NewEventTarget(ctx, name, &cloudwatch.EventTargetArgs{Rule: rule.Name, TargetId: pulumi.String(name), Arn: p.ARN, RoleArn: role.Arn,
		Input: pulumi.String("{}"), DeadLetterConfig: &cloudwatch.EventTargetDeadLetterConfigArgs{Arn: args.Functions[StartJobs].deadLettersARN.ToStringOutput().ToStringPtrOutput()}},
		pulumi.Parent(p), pulumi.DependsOn([]pulumi.Resource{access}))
	return err
}

const (
	pollSeconds   = 10 // pollSeconds is how long the driver waits before it looks again.
	settleSeconds = 60 // settleSeconds is longer than EMR takes to notice that a cluster's last step has ended.

	// historyEvents is how many events the history of an execution can have; then it fails.
	// https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
	historyEvents = 25_000
	// pollRounds is after how many rounds of 14 events each an execution hands over to a new one: some three hours.
	pollRounds = 1_000
)

// pollingDefinition renders the state machine, from the functions that start and watch runs, that look for files and plan, and that end the
// standing cluster. It goes by nothing but what the second one answers: how many jobs go on by themselves. A function that fails
// is asked again in the next round, as its other parts have done what they could.
func pollingDefinition(startARN, lookARN, stopARN string) (string, error) {
	type object = map[string]any
	again := []object{{"ErrorEquals": []string{"States.ALL"}, "IntervalSeconds": 5, "BackoffRate": 2, "MaxAttempts": 6, "JitterStrategy": "FULL"}}
	invoke := func(arn string, payload object, more object) object {
		state := object{"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "TimeoutSeconds": 330, // longer than any of the functions may take for this
			"Arguments": object{"FunctionName": arn, "Payload": payload}}
		for key, value := range more {
			state[key] = value
		}
		return state
	}
	// The console shows by this field who started an execution; here it also says that it was handed over to.
	const by = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
	text, err := json.MarshalIndent(object{
		"Comment":       "Polls the jobs of a country until none goes on by itself",
		"QueryLanguage": "JSONata",
		"StartAt":       "FindOthers",
		"States": object{
			"FindOthers": object{"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:listExecutions", "Retry": again,
				"Arguments": object{"StateMachineArn": "{% $states.context.StateMachine.Id %}", "StatusFilter": "RUNNING"},
				"Assign": object{"round": 0, "worked": "{% $exists($states.input." + by + ") %}",
					// The newest execution is listed first: the oldest one polls. Should a list lag behind, two do, and the ledger decides.
					"first": "{% $exists($states.input." + by + ") or $count($states.result.Executions) = 0 or " +
						"$states.result.Executions[-1].ExecutionArn = $states.context.Execution.Id %}"},
				"Next": "First"},
			"First":        object{"Type": "Choice", "Choices": []object{{"Condition": "{% $first %}", "Next": "Start"}}, "Default": "AnotherPolls"},
			"AnotherPolls": object{"Type": "Succeed"},

			"Start": invoke(startARN, object{}, object{"Catch": []object{{"ErrorEquals": []string{"States.ALL"}, "Next": "Look"}}, "Next": "Look"}),
			"Look": invoke(lookARN, object{}, object{"Assign": object{"moving": "{% $states.result.Payload.moving %}"}, "Next": "Moving",
				"Catch": []object{{"ErrorEquals": []string{"States.ALL"}, "Assign": object{"moving": -1}, "Next": "Moving"}}}), // nobody knows
			"Moving": object{"Type": "Choice", "Default": "Wait", "Choices": []object{
				{"Condition": "{% $moving = 0 and $worked %}", "Next": "Settle"},
				{"Condition": "{% $moving = 0 %}", "Next": "Done"},
				{"Condition": "{% $round >= " + strconv.Itoa(pollRounds) + " %}", "Next": "HandOver"}}},
			"Wait": object{"Type": "Wait", "Seconds": pollSeconds, "Assign": object{"round": "{% $round + 1 %}", "worked": true}, "Next": "Start"},

			"HandOver": object{"Type": "Task", "Resource": "arn:aws:states:::states:startExecution",
				// One name for each execution that hands over, so that a repeated call starts no second one.
				"Arguments": object{"StateMachineArn": "{% $states.context.StateMachine.Id %}", "Name": "{% $hash($states.context.Execution.Id, 'SHA-1') %}",
					"Input": object{by: "{% $states.context.Execution.Id %}"}},
				"Retry": append([]object{{"ErrorEquals": []string{"StepFunctions.ExecutionAlreadyExistsException"}, "MaxAttempts": 0}}, again...),
				"Catch": []object{{"ErrorEquals": []string{"StepFunctions.ExecutionAlreadyExistsException"}, "Next": "Done"}}, "Next": "Done"},

			"Settle": object{"Type": "Wait", "Seconds": settleSeconds, "Next": "Stop"},
			"Stop":   invoke(stopARN, object{"done": true}, object{"Retry": again, "Next": "Done"}),
			"Done":   object{"Type": "Succeed"},
		},
	}, "", "  ")
	return string(text), err
}
