package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/sizing"
)

// Completeness says how it is known that all files of a day are there.
type Completeness string

// The ways to know.
const (
	ByMarker Completeness = "marker" // ByMarker: a file named _COMPLETE was written last.
	ByCount  Completeness = "count"  // ByCount: as many files as expected are there.
	ByWindow Completeness = "window" // ByWindow: the day is over, and so is the time that files may be late.
)

// DefaultWindow is how long after the end of a day something that belongs to it is waited for, unless the feed says otherwise.
const DefaultWindow = time.Hour

// DefaultAttempts is how many runs a job has before it is dead, unless the feed says otherwise.
const DefaultAttempts = 3

// Feed is a kind of file, as far as the rules know it.
type Feed struct {
	Name          string
	ContractKey   string // ContractKey is the compiled contract's object key in the artifacts bucket.
	Completeness  Completeness
	ExpectedFiles int           // ExpectedFiles is the number of files of a day, for ByCount.
	Prerequisites []string      // Prerequisites are the feeds whose same day must have succeeded before.
	Engine        string        // Engine is auto, emr, emr-serverless or glue.
	Window        time.Duration // Window is how long after its end a day is waited for. 0 stands for DefaultWindow.
	Attempts      int           // Attempts is how many runs a job has before it is dead. 0 stands for DefaultAttempts.
	Timeout       time.Duration // Timeout is how long a run may take before people are told. 0: by the day's size, see Limit.
	ClientSide    bool          // ClientSide says that files are encrypted by who puts them.
}

// engine is the engine that the feed's runs go to. What "auto" stands for does not depend on what is switched off: a day is not to
// become dearer by a switch that is there to save.
func (f Feed) engine() string {
	if f.Engine == "" || f.Engine == "auto" {
		return sizing.EMR
	}
	return f.Engine
}

// Patience is how long something that belongs to a day is waited for.
func (f Feed) Patience() time.Duration {
	if f.Window > 0 {
		return f.Window
	}
	return DefaultWindow
}

// Limit is how long a run of a day of so many bytes may take before people are told of it: what the feed says or, by default, an hour and
// four times what a day of that size takes.
func (f Feed) Limit(bytes int64) time.Duration {
	if f.Timeout > 0 {
		return f.Timeout
	}
	return time.Hour + 4*sizing.Estimate(bytes)
}

func (f Feed) attempts() int {
	if f.Attempts > 0 {
		return f.Attempts
	}
	return DefaultAttempts
}

// Complete tells whether a day of the feed is complete, from the files that are in the landing bucket.
func (f Feed) Complete(day Day, files []File, now time.Time, zone *time.Location) bool {
	var count int
	var marked bool
	var last time.Time
	for _, file := range files {
		if file.Name == Marker {
			marked = true
			continue
		}
		count++
		if file.LandedAt.After(last) {
			last = file.LandedAt
		}
	}
	if count == 0 {
		return false
	}
	switch f.Completeness {
	case ByMarker:
		return marked
	case ByCount:
		return count >= f.ExpectedFiles
	case ByWindow:
		// A day of the past is not over before its own files stopped coming.
		return !now.Before(f.deadline(day, last, zone))
	}
	return false
}

// Missing says what a day of the feed lacks to be complete, from the files that are in the landing bucket; "" when it is complete.
func (f Feed) Missing(day Day, files []File, now time.Time, zone *time.Location) string {
	if f.Complete(day, files, now, zone) {
		return ""
	}
	count, marked := 0, false
	var last time.Time
	for _, file := range files {
		if file.Name == Marker {
			marked = true
			continue
		}
		count++
		if file.LandedAt.After(last) {
			last = file.LandedAt
		}
	}
	switch {
	case count == 0 && marked:
		return "the marker " + Marker + " is there, but no file"
	case count == 0:
		return "no file is there"
	case f.Completeness == ByMarker:
		return "the marker " + Marker + " is missing"
	case f.Completeness == ByCount:
		return fmt.Sprintf("%d of %d files are there", count, f.ExpectedFiles)
	}
	return "its window ends at " + f.deadline(day, last, zone).UTC().Format(time.RFC3339)
}

// deadline is when the wait for something of a day ends: a window after the day, but never less than a window after since.
func (f Feed) deadline(day Day, since time.Time, zone *time.Location) time.Time {
	end := day.End(zone)
	if since.After(end) {
		end = since
	}
	return end.Add(f.Patience())
}

// CheckFeeds refuses feeds that can never run together: names that cannot be in a key, unknown prerequisites, cycles. It reports all
// faults at once.
func CheckFeeds(feeds []Feed) error {
	var faults []error
	byName := map[string]Feed{}
	for _, f := range feeds {
		if !validFeed(f.Name) {
			faults = append(faults, fmt.Errorf("feed %q: a name begins with a letter and has at most 64 lower-case letters, digits, - and _", f.Name))
		}
		if _, twice := byName[f.Name]; twice {
			faults = append(faults, fmt.Errorf("feed %q is there twice", f.Name))
		}
		byName[f.Name] = f
		switch {
		case f.Completeness != ByMarker && f.Completeness != ByCount && f.Completeness != ByWindow:
			faults = append(faults, fmt.Errorf("feed %q: completeness %q is not one of marker, count, window", f.Name, f.Completeness))
		case f.Completeness == ByCount && f.ExpectedFiles < 1:
			faults = append(faults, fmt.Errorf("feed %q: completeness count needs expectedFiles of at least 1", f.Name))
		}
	}
	for _, f := range feeds {
		for _, p := range f.Prerequisites {
			if _, ok := byName[p]; !ok {
				faults = append(faults, fmt.Errorf("feed %q: prerequisite %q is no feed of this country", f.Name, p))
			}
		}
	}
	if cycle := findCycle(byName); cycle != nil {
		faults = append(faults, fmt.Errorf("feeds wait for each other: %s", strings.Join(cycle, " needs ")))
	}
	return errors.Join(faults...)
}

// findCycle returns the feeds of one cycle, the first one again at its end, or nil.
func findCycle(feeds map[string]Feed) []string {
	done := map[string]bool{}
	var path []string
	var visit func(name string) []string
	visit = func(name string) []string {
		if i := slices.Index(path, name); i >= 0 {
			return append(slices.Clone(path[i:]), name)
		}
		if done[name] {
			return nil
		}
		path = append(path, name)
		for _, p := range feeds[name].Prerequisites {
			if cycle := visit(p); cycle != nil {
				return cycle
			}
		}
		path = path[:len(path)-1]
		done[name] = true
		return nil
	}
	for _, name := range sortedNames(feeds) {
		if cycle := visit(name); cycle != nil {
			return cycle
		}
	}
	return nil
}

func sortedNames(feeds map[string]Feed) []string {
	names := make([]string, 0, len(feeds))
	for name := range feeds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
