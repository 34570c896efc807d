// Package cluster is the rules of a country's EMR clusters: how they are named, how busy one is, and when one may be ended.
//
// It is pure: who asks EMR, CloudWatch and the ledger, and who acts on the answers, are the functions publish-cpu and stop-cluster and
// package engine.
package cluster

import (
	"fmt"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/sizing"
)

// The metrics that publish-cpu publishes with the dimensions Stack and Country, and alarms watch.
const (
	Namespace  = "Sluice"
	CPUMetric  = "ClusterCPU"  // CPUMetric is the mean processor use of the standing cluster's machines, in percent.
	IdleMetric = "ClusterIdle" // IdleMetric is 1 while EMR calls the standing cluster idle, else 0.
)

// standingPart is what a standing cluster's name has before its size.
const standingPart = "standing-"

// Prefix begins the names of all clusters of a country.
func Prefix(stack, country string) string { return "sluice-" + stack + "-" + country + "-" }

// TransientName is the name of the clusters of a size that are started when there is work and end when there is none.
func TransientName(stack, country, size string) string { return Prefix(stack, country) + size }

// StandingName is the name of the cluster that the deployment declares.
func StandingName(stack, country, size string) string {
	return Prefix(stack, country) + standingPart + size
}

// Name is what a cluster's name tells.
type Name struct {
	Size     string // Size is one of package sizing's.
	Standing bool   // Standing: the deployment declares it.
}

// ParseName reads back what TransientName or StandingName wrote; it is false for a cluster that is none of this country's.
func ParseName(stack, country, name string) (Name, bool) {
	rest, ours := strings.CutPrefix(name, Prefix(stack, country))
	size, standing := strings.CutPrefix(rest, standingPart)
	_, known := sizing.Named(size)
	return Name{size, standing}, ours && known
}

// Observation is a cluster as it was seen at one time.
type Observation struct {
	Waiting bool      // Waiting: EMR says that it is up and has no step.
	ReadyAt time.Time // ReadyAt is when it could take its first step.
	Steps   int       // Steps counts its steps that wait, run or are being cancelled.
	Runs    int       // Runs counts the ledger's runs that are on it, or about to be.
}

// MayStop tells whether a cluster that an alarm calls idle may be ended, and if not, why. Patience is for how long it must have been up:
// an alarm may still be about the cluster before it.
func MayStop(o Observation, patience time.Duration, now time.Time) (ok bool, reason string) {
	switch {
	case o.Steps > 0:
		return false, fmt.Sprintf("%d of its steps have not ended", o.Steps)
	case o.Runs > 0:
		return false, fmt.Sprintf("%d runs are on it or about to be", o.Runs)
	case !o.Waiting:
		return false, "it is not waiting for work"
	case o.ReadyAt.IsZero() || now.Sub(o.ReadyAt) < patience:
		return false, fmt.Sprintf("it has not been up for %s yet", patience)
	}
	return true, ""
}

// Point is what a metric was at a time.
type Point struct {
	At    time.Time
	Value float64
}

// Mean is the mean of each machine's newest value, as far as it is not older than since; it is false when there is none. A machine that
// has no value yet, or none any more, does not make the others look quiet.
func Mean(machines [][]Point, since time.Time) (float64, bool) {
	sum, n := 0.0, 0
	for _, points := range machines {
		if newest, ok := Newest(points, since); ok {
			sum += newest
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	return sum / float64(n), true
}

// Newest is the newest value that is not older than since; it is false when there is none.
func Newest(points []Point, since time.Time) (float64, bool) {
	var newest Point
	found := false
	for _, p := range points {
		if !p.At.Before(since) && (!found || p.At.After(newest.At)) {
			newest, found = p, true
		}
	}
	return newest.Value, found
}
