// Package sizing decides from a day's files what computes them: a step on a cluster that is up, a new cluster of some size, or so many
// workers of an engine that has no clusters.
//
// It is pure. The decision carries its reason as a sentence, and is stored on the run and the job.
package sizing

import (
	"fmt"
	"slices"
	"time"
)

// Size is what a day of so many bytes is given, on each engine.
type Size struct {
	Name       string
	MaxBytes   int64             // MaxBytes is the largest day that it is meant for; 0: no limit.
	Core       int32             // Core is the number of an EMR cluster's core nodes, which are on demand.
	MaxUnits   int32             // MaxUnits is how many core and task nodes managed scaling may make of them; those beyond Core are spot.
	Serverless ServerlessWorkers // Serverless is what a run has to itself on EMR Serverless.
	Glue       GlueWorkers       // Glue is what a run has to itself on Glue.
}

// ServerlessWorkers are the workers of a run on EMR Serverless; driver and executors are of one kind. With Spark's overhead of a tenth, memory
// must be a size that the service has for so many cores.
type ServerlessWorkers struct {
	Cores     int32 // Cores are a worker's vCPUs.
	MemoryGB  int32 // MemoryGB is a worker's heap.
	DiskGB    int32 // DiskGB is an executor's disk, 20 to 200; the first 20 cost nothing. Spark keeps the day's lines and rows, and sorts them: about four bytes for one of CSV, on disk where memory ends.
	Executors int32 // Executors is how many a run may grow to, from one.
}

// GlueWorkers are the workers of a run on Glue, the driver among them.
type GlueWorkers struct {
	Type    string // Type is "G.1X" (4 vCPUs, 16 GB) or "G.2X", twice as large.
	Workers int32
}

const gigabyte = 1_000_000_000

// sizes is the whole table, the smallest first. A core node of the template's family (4 cores) works off about 50 MB of CSV a second.
// What EMR shares among a cluster's runs, the other engines give to each.
var sizes = []Size{
	{Name: "small", MaxBytes: 2 * gigabyte, Core: 1, MaxUnits: 3, Serverless: ServerlessWorkers{4, 14, 20, 2}, Glue: GlueWorkers{"G.1X", 2}},
	{Name: "medium", MaxBytes: 20 * gigabyte, Core: 3, MaxUnits: 9, Serverless: ServerlessWorkers{4, 14, 60, 8}, Glue: GlueWorkers{"G.1X", 10}},
	{Name: "large", Core: 8, MaxUnits: 24, Serverless: ServerlessWorkers{8, 28, 200, 12}, Glue: GlueWorkers{"G.2X", 14}},
}

// The engines, as feeds name them.
const (
	EMR           = "emr"
	EMRServerless = "emr-serverless"
	Glue          = "glue"
)

// Where a run goes.
const (
	RunningCluster = "running-cluster"
	NewCluster     = "new-cluster"
	OwnWorkers     = "own-workers" // OwnWorkers: the engine has no clusters, and gives the run workers of its own.
)

// Decision says what a run was given, and why.
type Decision struct {
	Bytes  int64  `json:"bytes" dynamodbav:"bytes"`
	Files  int64  `json:"files" dynamodbav:"files"`
	Engine string `json:"engine,omitempty" dynamodbav:"engine,omitempty"` // Engine is what the feed asks for, or what was chosen for it.
	Size   string `json:"size,omitempty" dynamodbav:"size,omitempty"`     // Size is the cluster's or the workers', by name.
	Target string `json:"target,omitempty" dynamodbav:"target,omitempty"` // Target is RunningCluster, NewCluster or OwnWorkers.
	Reason string `json:"reason,omitempty" dynamodbav:"reason,omitempty"`
}

// Clustered tells whether a feed's engine has clusters, so that Decide needs to know which are up. "auto" stands for EMR: a step on a
// cluster that is up is the cheapest and soonest of all, and a new cluster serves the days that follow.
func Clustered(engine string) bool { return engine != EMRServerless && engine != Glue }

// Decide chooses for a day of so many files and bytes of a feed that wants an engine, given the names of the sizes of the clusters that
// are up. A cluster that is up and large enough costs nothing more and starts at once; the smallest of those is taken.
func Decide(engine string, files, bytes int64, up []string) Decision {
	need := slices.IndexFunc(sizes, func(s Size) bool { return s.MaxBytes == 0 || bytes <= s.MaxBytes })
	size := sizes[need]
	if engine == "" || engine == "auto" {
		engine = EMR
	}
	d := Decision{Bytes: bytes, Files: files, Engine: engine, Size: size.Name, Target: NewCluster}
	amount := fmt.Sprintf("%s in %s", readable(bytes), plural(files, "file"))
	limit := "more than " + readable(sizes[max(need-1, 0)].MaxBytes)
	if size.MaxBytes > 0 {
		limit = "up to " + readable(size.MaxBytes)
	}
	switch engine {
	case EMRServerless:
		w := size.Serverless
		d.Target = OwnWorkers
		d.Reason = fmt.Sprintf("%s: the feed asks for EMR Serverless; %s, %s of %d cores at most, for days of %s", amount, size.Name, plural(int64(w.Executors), "executor"), w.Cores, limit)
		return d
	case Glue:
		d.Target = OwnWorkers
		d.Reason = fmt.Sprintf("%s: the feed asks for Glue; %s, %d workers %s, for days of %s", amount, size.Name, size.Glue.Workers, size.Glue.Type, limit)
		return d
	}
	for _, s := range sizes[need:] {
		if slices.Contains(up, s.Name) {
			d.Size, d.Target = s.Name, RunningCluster
			d.Reason = fmt.Sprintf("%s: the running cluster %s is large enough", amount, s.Name)
			return d
		}
	}
	d.Reason = fmt.Sprintf("%s: a new cluster %s, for days of %s; no running cluster is large enough", amount, d.Size, limit)
	return d
}

// Named returns the size of that name.
func Named(name string) (Size, bool) {
	i := slices.IndexFunc(sizes, func(s Size) bool { return s.Name == name })
	if i < 0 {
		return Size{}, false
	}
	return sizes[i], true
}

// Estimate is about how long a day of so many bytes takes. Only its order matters: the longest remaining path goes first.
func Estimate(bytes int64) time.Duration {
	const start, bytesPerMicrosecond = time.Minute, 50
	return start + time.Duration(bytes/bytesPerMicrosecond)*time.Microsecond
}

func readable(bytes int64) string {
	const units = "kMGTPE"
	if bytes < 1000 {
		return plural(bytes, "byte")
	}
	n, unit := float64(bytes), -1
	for n >= 1000 {
		n /= 1000
		unit++
	}
	return fmt.Sprintf("%.1f %cB", n, units[unit])
}

func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
