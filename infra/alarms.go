package infra

import (
	"fmt"
	"slices"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/metrics"
)

// What counts as trouble. docs/operations.md says what to do about each.
const (
	failedTries      = 9   // failedTries of a function in a quarter of an hour: three events were given up, after three tries each. Of one, tell-fault tells.
	untoldTries      = 3   // untoldTries of tell-fault itself in a quarter of an hour: a failure was not told of.
	timeoutPercent   = 80  // timeoutPercent of a function's time-out: a larger day will not end in time.
	eventAgeMinutes  = 15  // eventAgeMinutes is how long an event may wait for its function.
	ticketAgeMinutes = 360 // ticketAgeMinutes is how long a job may take from ready to done: nothing starts, or a run hangs.
	landedAgeMinutes = 60  // landedAgeMinutes is how long an event may wait for its function: twice as long as one that fails is tried.
	silenceMinutes   = 15  // silenceMinutes is how long start-jobs may be silent, which the clock wakes every minute.
)

// AlarmsArgs is what Alarms are made of.
type AlarmsArgs struct {
	Prefix    string               // Prefix begins the alarms' names, for example "sluice-prod-us".
	Stack     string               // Stack and Country are the dimensions of what the functions count.
	Country   string               // Country is the country's code.
	AlertsARN pulumi.StringInput   // AlertsARN is the topic that hears of each alarm.
	Functions map[string]*Function // Functions are the country's functions by folder; each gets every alarm that a function has.
	Queues    []Queue              // Queues are the country's queues; each gets the alarm of its kind.
	Polling   *Polling             // Polling is the polling driver, nil where the functions are woken by what happens.
	Tags      map[string]string    // Tags go on everything that takes tags.
}

// Queue is a queue as alarms and dashboards see it.
type Queue struct {
	Word        string             // Word tells the queue from the country's others, for example "tickets".
	Name        pulumi.StringInput // Name is its physical name.
	DeadLetters bool               // DeadLetters says that it holds what nobody could handle, so that one message is trouble.
	Events      bool               // Events says that it holds events, which a function takes at once.
}

// Alarms tell people when a function, a queue or a job of a country is in trouble. They are made from the lists of functions and
// queues, so that a new one has its alarms without anybody thinking of them.
type Alarms struct {
	pulumi.ResourceState

	Names []string // Names are the alarms' physical names.
}

// alarm is one metric, and what about it is trouble.
type alarm struct {
	name        string // name tells the alarm from the country's others
	description string // description is told to who is woken
	next        string // next is what he can do

	namespace, metric, statistic string
	dimensions                   pulumi.StringMap

	minutes, periods int     // all of so many periods of so many minutes have to be in trouble
	threshold        float64 // a value as large as this is trouble
	missing          string  // what a period without data means
	silence          bool    // not the value is trouble, but that none comes
	shown            bool    // it shows on the dashboard only: a function tells of each fault by itself, with the job's name
}

// NewAlarms creates Alarms.
func NewAlarms(ctx *pulumi.Context, name string, args *AlarmsArgs, opts ...pulumi.ResourceOption) (*Alarms, error) {
	a := &Alarms{}
	if err := register(ctx, "sluice:operations:Alarms", name, a, opts); err != nil {
		return nil, err
	}
	all := jobAlarms(args.Stack, args.Country)
	for _, folder := range sortedNames(args.Functions) {
		all = append(all, functionAlarms(folder, args.Functions[folder], args.Polling != nil && slices.Contains(askedByPolling, folder))...)
		if folder == StartJobs {
			all = append(all, wakeAlarms(args)...)
		}
	}
	for _, queue := range args.Queues {
		all = append(all, queueAlarm(queue))
	}
	for _, one := range all {
		if err := a.alarm(ctx, name+"-"+one.name, one, args); err != nil {
			return nil, err
		}
	}
	return a, ctx.RegisterResourceOutputs(a, pulumi.Map{"names": pulumi.ToStringArray(a.Names)})
}

// askedByPolling are the functions that the polling driver calls. It waits for their answers, so that Lambda hands no failure of theirs to tell-fault.
var askedByPolling = []string{QueueJobs, StartJobs, StopCluster}

// functionAlarms are the alarms of a function, which may be polled. A function that does not run has no data, which is no trouble: whatever
// should have woken it has an alarm of its own.
func functionAlarms(folder string, f *Function, polled bool) []alarm {
	on := func(a alarm) alarm {
		a.name, a.namespace, a.dimensions = folder+"-"+a.name, "AWS/Lambda", pulumi.StringMap{"FunctionName": f.Name}
		if a.missing == "" {
			a.missing = "notBreaching"
		}
		return a
	}
	errors := alarm{name: "errors", metric: "Errors", statistic: "Sum", minutes: 15, periods: 1, threshold: failedTries,
		description: folder + " fails again and again: not one event is bad, but the function, or what it works with", next: "read its log, mend the cause, then sluice redrive --dead-letters"}
	if polled {
		errors.threshold, errors.description, errors.next = 1, folder+" failed; the polling driver asks it again", "read its log, and mend the cause"
	}
	if folder == TellFault {
		errors.threshold, errors.description = untoldTries, folder+" failed, and so a failure of something else was not told of"
		errors.next = "read its log, and see the errors of the other functions on the dashboard"
	}
	all := []alarm{
		on(errors),
		on(alarm{name: "duration", metric: "Duration", statistic: "Maximum", minutes: 5, periods: 1, threshold: float64(f.TimeoutSeconds * 1000 * timeoutPercent / 100),
			description: fmt.Sprintf("%s took %d %% of its time-out of %d s", folder, timeoutPercent, f.TimeoutSeconds), next: "see what grew, and raise the time-out before it is reached"}),
		on(alarm{name: "event-age", metric: "AsyncEventAge", statistic: "Maximum", minutes: 5, periods: 1, threshold: eventAgeMinutes * 60 * 1000,
			description: fmt.Sprintf("events wait for %s for %d minutes", folder, eventAgeMinutes), next: "is it throttled, or does it fail and repeat? See its log and the account's concurrency"}),
	}
	if folder != TellFault { // which has nobody to tell
		all = append(all, on(alarm{name: "lost-events", metric: "DestinationDeliveryFailures", statistic: "Sum", minutes: 5, periods: 1, threshold: 1,
			description: folder + " gave an event up, and could not tell " + TellFault, next: "may its role still invoke it? The event is among the dead letters"}))
	}
	if !f.Single { // one that runs alone is throttled whenever it is woken twice; how long its events wait says whether that hurts
		all = append(all, on(alarm{name: "throttles", metric: "Throttles", statistic: "Sum", minutes: 5, periods: 3, threshold: 1,
			description: folder + " has been throttled for 15 minutes: the account's concurrency is used up", next: "find by whom, and ask AWS for more"}))
	}
	return all
}

// wakeAlarms tell that what wakes start-jobs does not: the clock, or the polling driver.
func wakeAlarms(args *AlarmsArgs) []alarm {
	if args.Polling == nil {
		return []alarm{{name: StartJobs + "-silent", namespace: "AWS/Lambda", dimensions: pulumi.StringMap{"FunctionName": args.Functions[StartJobs].Name},
			metric: "Invocations", statistic: "Sum", minutes: 5, periods: silenceMinutes / 5, missing: "missing", silence: true,
			description: fmt.Sprintf("%s, which the clock wakes every minute, has not run for %d minutes", StartJobs, silenceMinutes),
			next:        "is its rule enabled, and the function's concurrency not 0? Jobs wait meanwhile"}}
	}
	on := func(a alarm) alarm {
		a.name, a.namespace, a.statistic, a.dimensions = "polling-"+a.name, "AWS/States", "Sum", pulumi.StringMap{"StateMachineArn": args.Polling.ARN}
		return a
	}
	minutes := max(args.Polling.Minutes, silenceMinutes/3)
	return []alarm{ // of an execution that failed, tell-fault tells
		on(alarm{name: "silent", metric: "ExecutionsStarted", minutes: minutes, periods: 3, missing: "missing", silence: true,
			description: fmt.Sprintf("the polling driver, which the clock starts every %d minutes, was not started for %d", args.Polling.Minutes, 3*minutes),
			next:        "is its rule enabled, may its role start the state machine? Jobs wait meanwhile"}),
	}
}

// queueAlarm is the alarm of a queue.
func queueAlarm(q Queue) alarm {
	a := alarm{name: q.Word, namespace: "AWS/SQS", statistic: "Maximum", dimensions: pulumi.StringMap{"QueueName": q.Name}, minutes: 5, periods: 1}
	if q.DeadLetters {
		a.metric, a.threshold, a.description = "ApproximateNumberOfMessagesVisible", 1, q.Word+" has a message that nobody could handle"
		a.next = "sluice redrive --dead-letters, once the cause is mended, shows what it was and tries it again"
		a.missing = "ignore" // SQS stops reporting on a queue that nobody touched for hours, with the message still in it
		return a
	}
	a.metric, a.threshold, a.missing = "ApproximateAgeOfOldestMessage", ticketAgeMinutes*60, "notBreaching"
	a.description = fmt.Sprintf("%s has a message of %d hours: nothing starts, or a run hangs", q.Word, ticketAgeMinutes/60)
	a.next = "sluice jobs, then sluice explain of what is ready or running"
	if q.Events {
		a.threshold, a.description = landedAgeMinutes*60, fmt.Sprintf("%s has an event of %d minutes: no function takes them", q.Word, landedAgeMinutes)
		a.next = "is the event source mapping of receive-file enabled, is the function throttled? The sweep finds the files meanwhile"
	}
	return a
}

// jobAlarms are the alarms of what the functions count. Nothing counted is nothing happened.
func jobAlarms(stack, country string) []alarm {
	all := []alarm{}
	for _, counted := range []struct {
		name, description, next string
		metric                  metrics.Name
	}{
		{"jobs-failed", "a day's files are no good", "sluice jobs names the job; mend the files and deliver the day again", metrics.JobsFailed},
		{"jobs-dead", "a job failed in all its attempts", "sluice jobs names the job; mend the cause, then sluice redrive", metrics.JobsDead},
		{"jobs-blocked", "a day's window ended and a prerequisite has not come", "sluice jobs names the job, sluice explain what has to come", metrics.JobsBlocked},
		{"jobs-held", "a job waits for somebody's decision", "sluice jobs names the job; sluice restate or release it, or leave it", metrics.JobsHeld},
		{"exports-failed", "a day did not get to BigQuery after all tries", "read the log of export-table, mend the cause, then sluice redrive", metrics.ExportsFailed},
	} {
		all = append(all, alarm{name: counted.name, description: counted.description, next: counted.next, namespace: metrics.Namespace, metric: string(counted.metric), statistic: "Sum",
			dimensions: pulumi.StringMap{metrics.Stack: pulumi.String(stack), metrics.Country: pulumi.String(country)},
			minutes:    5, periods: 1, threshold: 1, missing: "notBreaching", shown: true})
	}
	return all
}

// alarm creates an alarm, which tells the alerts topic unless it is only shown.
func (a *Alarms) alarm(ctx *pulumi.Context, name string, one alarm, args *AlarmsArgs) error {
	physical := args.Prefix + "-" + one.name
	told := pulumi.Array{args.AlertsARN}
	input := &cloudwatch.MetricAlarmArgs{
		Name: pulumi.String(physical), AlarmDescription: pulumi.String("Country " + args.Country + ": " + one.description + ". Next: " + one.next),
		Namespace: pulumi.String(one.namespace), MetricName: pulumi.String(one.metric), Statistic: pulumi.String(one.statistic), Dimensions: one.dimensions,
		ComparisonOperator: pulumi.String("GreaterThanOrEqualToThreshold"), Threshold: pulumi.Float64(one.threshold),
		Period: pulumi.Int(one.minutes * 60), EvaluationPeriods: pulumi.Int(one.periods), DatapointsToAlarm: pulumi.Int(one.periods),
		TreatMissingData: pulumi.String(one.missing), AlarmActions: told, Tags: tagged(args.Tags),
	}
	if one.silence { // it never breaches: a new stack, which has no data yet, must not wake anybody
		input.ComparisonOperator, input.AlarmActions, input.InsufficientDataActions = pulumi.String("LessThanThreshold"), nil, told
	}
	if one.shown {
		input.AlarmActions = nil
	}
	a.Names = append(a.Names, physical)
	_, err := cloudwatch.NewMetricAlarm(ctx, name, input, pulumi.Parent(a))
	return err
}
