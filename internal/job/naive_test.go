package job

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/sizing"
)

// naivePlan decides what happens next: which jobs become ready, which wait or are blocked and for what, and which of the ready ones take
// the free slots. The same board gives the same decisions in the same order.
func naivePlan(b Board) []Decision {
	p := naive{Board: b, paths: map[ID]time.Duration{}}
	var decisions []Decision
	var startable []Job
	for _, j := range p.open() {
		to, reason, alert := p.judge(j)
		if j.State == Held {
			to, alert = Waiting, false
		}
		if to == Ready && j.State == Ready {
			off, isOff := p.Off[p.Feeds[j.Feed].engine()]
			if p.Off != nil && off != j.Reason {
				decisions = append(decisions, Decision{ID: j.ID, From: Ready, To: Ready, Token: j.Token, Reason: off})
			}
			if !isOff {
				startable = append(startable, j)
			}
			continue
		}
		if to != j.State || reason != j.Reason {
			decisions = append(decisions, Decision{ID: j.ID, From: j.State, To: to, Token: j.Token, Reason: reason, Alert: alert && to != j.State})
		}
	}
	// What is new goes before what is done again, so that a backfill of years delays no day of today.
	slices.SortStableFunc(startable, func(a, b Job) int {
		return cmp.Or(cmp.Compare(min(max(a.Revision, 1), 2), min(max(b.Revision, 1), 2)), cmp.Compare(p.path(b), p.path(a)))
	})
	free := max(b.Parallel-len(b.Slots), 0)
	leased := map[string]bool{} // feeds that one of the chosen will run on
	for _, j := range startable {
		if free == 0 {
			break
		}
		if leased[j.Feed] {
			continue
		}
		leased[j.Feed] = true
		free--
		decisions = append(decisions, Decision{ID: j.ID, From: Ready, To: Running, Token: j.Token})
	}
	return decisions
}

type naive struct {
	Board
	paths map[ID]time.Duration // memo of path
}

// open returns the jobs to be planned, the oldest day first.
func (p naive) open() []Job {
	var jobs []Job
	for _, j := range p.Jobs {
		if j.Planned(p.LastDay[j.Feed]) {
			jobs = append(jobs, j)
		}
	}
	slices.SortFunc(jobs, func(a, b Job) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Feed, b.Feed))
	})
	return jobs
}

// judge says in which state an open job should be and why. Something that comes by itself is waited for; what only a person can
// bring blocks.
func (p naive) judge(j Job) (to State, reason string, alert bool) {
	feed, ok := p.Feeds[j.Feed]
	if !ok {
		return Blocked, fmt.Sprintf("feed %s is not deployed", j.Feed), true
	}
	if last := p.LastDay[j.Feed]; j.Revision <= 1 && j.Day < last {
		return Held, fmt.Sprintf("the day is earlier than %s, the last one that succeeded: it needs a restatement", last), true
	}
	var waits []string
	for _, o := range p.obstacles(j, feed) {
		if o.blocks {
			return Blocked, o.text, o.alert
		}
		waits = append(waits, o.text)
	}
	if len(waits) > 0 {
		return Waiting, "waits for " + strings.Join(waits, ", "), false
	}
	return Ready, "", false
}

// obstacles lists what stands in a job's way: its own last failure, another day that runs on its feed, earlier days, the nearest one
// only, then its prerequisites.
func (p naive) obstacles(j Job, feed Feed) []obstacle {
	var found []obstacle
	if p.Now.Before(j.RetryAt) {
		found = append(found, obstacle{kind: WhyAttempt, text: fmt.Sprintf("attempt %d of %d at %s, because the last one failed: %s",
			j.Attempts()+1, feed.attempts(), j.RetryAt.UTC().Format(time.RFC3339), j.Trouble)})
	}
	if o, ok := p.lease(j); ok {
		found = append(found, o)
	}
	if j.Retract {
		return found
	}
	if o, ok := p.earlierDay(j, feed); ok {
		found = append(found, o)
	}
	for _, name := range feed.Prerequisites {
		if o, ok := p.prerequisite(j, name); ok {
			found = append(found, o)
		}
	}
	return found
}

// lease finds a later day of the feed that runs now: a restatement rewrites the tables that this run writes, too. Earlier days are
// waited for anyway.
func (p naive) lease(j Job) (obstacle, bool) {
	for _, id := range p.Slots {
		if id.Feed == j.Feed && (id.Day > j.Day || j.Retract && id != j.ID) && p.Jobs[id].State == Running {
			return obstacle{kind: WhyLease, text: fmt.Sprintf("%s %s, which runs", id.Feed, id.Day)}, true
		}
	}
	return obstacle{}, false
}

// earlierDay finds the last earlier day of the feed that has not been processed, if any. Up to the feed's last day only what runs is
// in the way and, for a restatement, an earlier one that is to come.
func (p naive) earlierDay(j Job, feed Feed) (obstacle, bool) {
	last := p.LastDay[j.Feed]
	var before Day
	for id, other := range p.Jobs {
		again := j.Day <= last && other.Revision > 1 && other.State.Open()
		settled := other.State == Succeeded || other.State == Cancelled || other.Day <= last && other.State != Running && !again
		if id.Feed == j.Feed && id.Day < j.Day && id.Day > before && !settled {
			before = id.Day
		}
	}
	for _, day := range p.Landed[j.Feed] {
		if _, hasJob := p.Jobs[ID{j.Feed, day}]; day < j.Day && day > before && day > last && !hasJob {
			before = day
		}
	}
	if before == "" {
		return obstacle{}, false
	}
	name, step := j.Feed+" "+string(before), p.Command(Cancel, ID{j.Feed, before})
	other, hasJob := p.Jobs[ID{j.Feed, before}]
	if hasJob {
		return standing(WhyEarlierDay, name, other.State), true
	}
	if p.Now.Before(feed.deadline(j.Day, j.CreatedAt, p.Zone)) {
		return obstacle{kind: WhyEarlierDay, text: name + ", which is not complete"}, true
	}
	return obstacle{kind: WhyEarlierDay, text: fmt.Sprintf("%s has files but is not complete: complete it, or give it up with %s", name, step), next: "put what it lacks, or give it up: " + step, blocks: true, alert: true}, true
}

// prerequisite looks at the job of another feed for the same day, unless it is done.
func (p naive) prerequisite(j Job, name string) (obstacle, bool) {
	other, ok := p.Jobs[ID{name, j.Day}]
	switch {
	case ok && other.Done():
		return obstacle{}, false
	case ok:
		return standing(WhyPrerequisite, name, other.State), true
	case p.Now.Before(p.Feeds[name].deadline(j.Day, j.CreatedAt, p.Zone)):
		return obstacle{kind: WhyPrerequisite, text: name}, true
	}
	return obstacle{kind: WhyPrerequisite, text: fmt.Sprintf("prerequisite %s did not come: deliver its day", name), blocks: true, alert: true}, true
}

// path is about how long the longest chain of jobs takes that starts with j: those that can start only after it.
func (p naive) path(j Job) time.Duration {
	if known, ok := p.paths[j.ID]; ok {
		return known
	}
	var longest time.Duration
	for _, other := range p.dependants(j) {
		longest = max(longest, p.path(other))
	}
	p.paths[j.ID] = sizing.Estimate(j.Sizing.Bytes) + longest
	return p.paths[j.ID]
}

// dependants returns the open jobs that wait for j directly: the same day of feeds that need it, and the next day of its own.
func (p naive) dependants(j Job) []Job {
	var found []Job
	var next *Job
	for id, other := range p.Jobs {
		switch {
		case !other.State.Open():
		case id.Day == j.Day && slices.Contains(p.Feeds[id.Feed].Prerequisites, j.Feed):
			found = append(found, other)
		case id.Feed == j.Feed && id.Day > j.Day && (next == nil || id.Day < next.Day):
			next = &other
		}
	}
	if next != nil {
		found = append(found, *next)
	}
	return found
}
