// Package sizing decides from a day's files what computes them: a step on a cluster that is up, or a new cluster of some size.
//
// It is pure. The decision carries its reason as a sentence, and is stored on the run and the job.
package sizing

import (
	"fmt"
	"slices"
	"time"
)

// Size is a cluster that we start.
type Size struct {
	Name     string
	MaxBytes int64 // MaxBytes is the largest day that it is meant for; 0: no limit.
	Core     int32 // Core is the number of its core nodes at the start.
	MaxUnits int32 // MaxUnits is how many instances managed scaling may grow it to.
}

const gigabyte = 1_000_000_000

// sizes is the whole table, the smallest first. A core node of the template's family (4 cores) works off about 50 MB of CSV a second.
var sizes = []Size{
	{Name: "small", MaxBytes: 2 * gigabyte, Core: 1, MaxUnits: 3},
	{Name: "medium", MaxBytes: 20 * gigabyte, Core: 3, MaxUnits: 9},
	{Name: "large", Core: 8, MaxUnits: 24},
}

// Where a run goes.
const (
	RunningCluster = "running-cluster"
	NewCluster     = "new-cluster"
)

// Decision says what a run was given, and why.
type Decision struct {
	Bytes  int64  `json:"bytes" dynamodbav:"bytes"`
	Files  int64  `json:"files" dynamodbav:"files"`
	Size   string `json:"size,omitempty" dynamodbav:"size,omitempty"`     // Size is the cluster's, by name.
	Target string `json:"target,omitempty" dynamodbav:"target,omitempty"` // Target is RunningCluster or NewCluster.
	Reason string `json:"reason,omitempty" dynamodbav:"reason,omitempty"`
}

// Decide chooses for a day of so many files and bytes, given the names of the sizes of the clusters that are up. A cluster that is
// up and large enough costs nothing more and starts at once; the smallest of those is taken.
func Decide(files, bytes int64, up []string) Decision {
	need := slices.IndexFunc(sizes, func(s Size) bool { return s.MaxBytes == 0 || bytes <= s.MaxBytes })
	d := Decision{Bytes: bytes, Files: files, Size: sizes[need].Name, Target: NewCluster}
	amount := fmt.Sprintf("%s in %s", readable(bytes), plural(files, "file"))
	for _, s := range sizes[need:] {
		if slices.Contains(up, s.Name) {
			d.Size, d.Target = s.Name, RunningCluster
			d.Reason = fmt.Sprintf("%s: the running cluster %s is large enough", amount, s.Name)
			return d
		}
	}
	limit := "more than " + readable(sizes[max(need-1, 0)].MaxBytes)
	if sizes[need].MaxBytes > 0 {
		limit = "up to " + readable(sizes[need].MaxBytes)
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
