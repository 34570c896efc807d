// Package metrics counts in the log: a line that carries one of these attributes is a metric of CloudWatch as well as a line for people.
//
// CloudWatch extracts metrics from log lines in its embedded metric format by itself, so that counting needs no call, no permission
// and no time. The line has to name stack and country, which package lambdaenv puts on every line.
package metrics

import (
	"log/slog"
	"time"
)

// Namespace is where the metrics are found.
const Namespace = "Sluice"

// The dimensions of every metric, which are members of the log line. No other exists: each further value would be a metric that costs.
const (
	Stack   = "Stack"
	Country = "Country"
)

// Name is the name of a metric.
type Name string

// The metrics, each counted by one log line.
const (
	RunsSucceeded Name = "RunsSucceeded" // RunsSucceeded counts runs that published.
	RunsFailed    Name = "RunsFailed"    // RunsFailed counts runs that ended without, those that are tried again among them.
	JobsFailed    Name = "JobsFailed"    // JobsFailed counts jobs whose files are no good.
	JobsDead      Name = "JobsDead"      // JobsDead counts jobs that no attempt is left of.
	JobsBlocked   Name = "JobsBlocked"   // JobsBlocked counts jobs whose prerequisites did not come.
	JobsHeld      Name = "JobsHeld"      // JobsHeld counts jobs that wait for somebody's decision.
	ExportsFailed Name = "ExportsFailed" // ExportsFailed counts days that did not get to BigQuery after all tries.
	BytesLanded   Name = "BytesLanded"   // BytesLanded sums the sizes of recorded files.
)

// units are those of metrics that count something else than occurrences.
var units = map[Name]string{BytesLanded: "Bytes"}

// Add makes a log line count value for name at this time. It is an attribute for the functions of log/slog.
func Add(now time.Time, name Name, value int64) slog.Attr {
	unit := units[name]
	if unit == "" {
		unit = "Count"
	}
	type metric struct{ Name, Unit string }
	type directive struct {
		Namespace  string
		Dimensions [][]string
		Metrics    []metric
	}
	type metadata struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}
	return slog.Attr{Value: slog.GroupValue( // a group without a name: its members are the line's own
		slog.Any("_aws", metadata{now.UnixMilli(), []directive{{Namespace, [][]string{{Stack, Country}}, []metric{{string(name), unit}}}}}),
		slog.Int64(string(name), value))}
}
