package infra

import (
	"encoding/json"
	"fmt"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/cloudwatch"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/sluice-data/sluice/internal/metrics"
)

// DashboardArgs is what a Dashboard is made of.
type DashboardArgs struct {
	DashboardName string               // DashboardName is the dashboard's physical name.
	Stack         string               // Stack and Country are the dimensions of what the functions count.
	Country       string               // Country is the country's code.
	Account       string               // Account and Region are where the metrics are.
	Region        string               // Region is the AWS region.
	Functions     map[string]*Function // Functions are the country's functions by folder.
	Queues        []Queue              // Queues are the country's queues.
	Alarms        []string             // Alarms are the physical names of the country's alarms.
}

// Dashboard shows a country's jobs, functions, queues, clusters and alarms on one page.
type Dashboard struct {
	pulumi.ResourceState
}

// NewDashboard creates a Dashboard.
func NewDashboard(ctx *pulumi.Context, name string, args *DashboardArgs, opts ...pulumi.ResourceOption) (*Dashboard, error) {
	d := &Dashboard{}
	if err := register(ctx, "sluice:operations:Dashboard", name, d, opts); err != nil {
		return nil, err
	}
	names := pulumi.StringMap{}
	for folder, function := range args.Functions {
		names["function/"+folder] = function.Name
	}
	for _, queue := range args.Queues {
		names["queue/"+queue.Word] = queue.Name
	}
	body := names.ToStringMapOutput().ApplyT(func(names map[string]string) (string, error) {
		facts := facts{stack: args.Stack, country: args.Country, account: args.Account, region: args.Region, alarms: args.Alarms}
		for _, folder := range sortedNames(args.Functions) {
			facts.functions = append(facts.functions, series{folder, names["function/"+folder]})
		}
		for _, queue := range args.Queues {
			if queue.DeadLetters {
				facts.deadLetters = append(facts.deadLetters, series{queue.Word, names["queue/"+queue.Word]})
			} else {
				facts.queues = append(facts.queues, series{queue.Word, names["queue/"+queue.Word]})
			}
		}
		text, err := json.Marshal(map[string]any{"widgets": facts.widgets()})
		return string(text), err
	}).(pulumi.StringOutput)
	if _, err := cloudwatch.NewDashboard(ctx, name, &cloudwatch.DashboardArgs{DashboardName: pulumi.String(args.DashboardName), DashboardBody: body}, pulumi.Parent(d)); err != nil {
		return nil, err
	}
	return d, ctx.RegisterResourceOutputs(d, pulumi.Map{})
}

// facts are what a country's dashboard is drawn from.
type facts struct {
	stack, country, account, region string
	functions, queues, deadLetters  []series
	alarms                          []string
}

// series is a line of a graph: what people call it, and its physical name.
type series struct{ label, name string }

// widget is a widget of CloudWatch's dashboard format. The page is 24 units wide.
type widget struct {
	Type       string         `json:"type"`
	X          int            `json:"x"`
	Y          int            `json:"y"`
	Width      int            `json:"width"`
	Height     int            `json:"height"`
	Properties map[string]any `json:"properties"`
}

// widgets are the page: what happens to the day's files first, then what makes it happen, and what it runs on.
func (f facts) widgets() []widget {
	title := widget{Type: "text", Width: 24, Height: 1, Properties: map[string]any{
		"markdown": fmt.Sprintf("# sluice %s %s\nEach alarm, and what to do about it: docs/operations.md", f.stack, f.country)}}
	page := []widget{title}
	for row, graphs := range [][]map[string]any{
		{f.alarmStates(), f.jobs(), f.bytes()},
		{f.functionErrors(), f.functionDurations(), f.functionThrottles()},
		{f.queueDepth(), f.queueAge(), f.dead()},
		{f.clusterUse(), f.clusterIdle(), f.clusterApplications()},
	} {
		for column, properties := range graphs {
			kind := "metric"
			if properties["alarms"] != nil {
				kind = "alarm"
			}
			page = append(page, widget{Type: kind, X: 8 * column, Y: 1 + 6*row, Width: 8, Height: 6, Properties: properties})
		}
	}
	return page
}

// graph is a graph of metrics over time, a value every five minutes.
func (f facts) graph(title, stat string, lines []any, more map[string]any) map[string]any {
	properties := map[string]any{"title": title, "stat": stat, "period": 300, "region": f.region, "view": "timeSeries", "metrics": lines}
	for name, value := range more {
		properties[name] = value
	}
	return properties
}

// from0 makes a graph's axis begin at zero.
func from0(label string) map[string]any {
	return map[string]any{"yAxis": map[string]any{"left": map[string]any{"min": 0, "label": label, "showUnits": false}}}
}

// stacked shows counts upon each other.
func stacked() map[string]any {
	more := from0("")
	more["stacked"] = true
	return more
}

// of are the lines of one metric of several functions or queues.
func of(namespace, metric, dimension string, all []series) []any {
	lines := []any{}
	for _, s := range all {
		lines = append(lines, []any{namespace, metric, dimension, s.name, map[string]any{"label": s.label}})
	}
	return lines
}

// counted are the lines of what the country's functions count.
func (f facts) counted(names ...metrics.Name) []any {
	lines := []any{}
	for _, name := range names {
		lines = append(lines, []any{metrics.Namespace, string(name), metrics.Stack, f.stack, metrics.Country, f.country, map[string]any{"label": string(name)}})
	}
	return lines
}

func (f facts) alarmStates() map[string]any {
	arns := []string{}
	for _, name := range f.alarms {
		arns = append(arns, "arn:aws:cloudwatch:"+f.region+":"+f.account+":alarm:"+name)
	}
	return map[string]any{"title": "Alarms", "alarms": arns, "sortBy": "stateUpdatedTimestamp"}
}

func (f facts) jobs() map[string]any {
	return f.graph("Runs by how they ended, and jobs that are stuck", "Sum",
		f.counted(metrics.RunsSucceeded, metrics.RunsFailed, metrics.JobsFailed, metrics.JobsDead, metrics.JobsBlocked, metrics.JobsHeld, metrics.ExportsFailed), stacked())
}

func (f facts) bytes() map[string]any {
	return f.graph("Bytes landed", "Sum", f.counted(metrics.BytesLanded), stacked())
}

func (f facts) functionErrors() map[string]any {
	return f.graph("Functions: errors", "Sum", of("AWS/Lambda", "Errors", "FunctionName", f.functions), from0(""))
}

func (f facts) functionDurations() map[string]any {
	return f.graph("Functions: longest duration", "Maximum", of("AWS/Lambda", "Duration", "FunctionName", f.functions), from0("ms"))
}

func (f facts) functionThrottles() map[string]any {
	return f.graph("Functions: throttles", "Sum", of("AWS/Lambda", "Throttles", "FunctionName", f.functions), from0(""))
}

func (f facts) queueDepth() map[string]any {
	return f.graph("Queues: messages that wait, and that are worked on", "Maximum",
		append(of("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", f.queues), of("AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", f.queues)...), from0(""))
}

func (f facts) queueAge() map[string]any {
	return f.graph("Queues: age of the oldest message", "Maximum", of("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", f.queues), from0("s"))
}

func (f facts) dead() map[string]any {
	return f.graph("Dead letters", "Maximum", of("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", f.deadLetters), from0(""))
}

func (f facts) clusterUse() map[string]any {
	return f.graph("Standing cluster: processors", "Average", f.counted("ClusterCPU"), from0("%"))
}

func (f facts) clusterIdle() map[string]any {
	return f.graph("Standing cluster: idle (1) or not (0)", "Minimum", f.counted("ClusterIdle"), from0(""))
}

// clusterApplications cannot be narrowed to a country: EMR reports by cluster ids only, which come and go.
func (f facts) clusterApplications() map[string]any {
	search := func(metric string) any {
		return []any{map[string]any{"expression": fmt.Sprintf(`SEARCH('{AWS/ElasticMapReduce,JobFlowId} MetricName="%s"', 'Maximum', 300)`, metric), "label": metric + " ${PROP('Dim.JobFlowId')}"}}
	}
	return f.graph("Steps' applications on every cluster of this account and region", "Maximum", []any{search("AppsRunning"), search("AppsPending")}, from0(""))
}
