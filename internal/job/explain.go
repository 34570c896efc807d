package job

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// WhyKind is a kind of reason for which a job does not run.
type WhyKind string

// The kinds of reasons.
const (
	WhySlot         WhyKind = "slot"         // all slots are taken, or others go first
	WhyPrerequisite WhyKind = "prerequisite" // another feed's same day has not succeeded
	WhyEarlierDay   WhyKind = "earlier day"  // an earlier day of the feed has not been processed
	WhyLease        WhyKind = "lease"        // another day of the feed runs
	WhyAttempt      WhyKind = "attempt"      // the last run failed; the next attempt has its time
	WhySwitch       WhyKind = "switch"       // the engine is switched off
	WhyHold         WhyKind = "hold"         // somebody, or a rule, holds the job
	WhyClosedDay    WhyKind = "closed day"   // the day succeeded
	WhyRuns         WhyKind = "runs"         // it does not wait: it runs
	WhyOverdue      WhyKind = "overdue"      // its run takes longer than it should
	WhyEnded        WhyKind = "ended"        // it failed, is dead, or was cancelled
	WhyBlocks       WhyKind = "blocks"       // others do not run because of this one
	WhyUnread       WhyKind = "unread"       // objects of the day cannot be read, because of their names
	WhyNoDay        WhyKind = "no day"       // the day is not complete, or its feed not deployed
)

// Why is one reason for which a job does not run, and what ends it.
type Why struct {
	Kind WhyKind `json:"kind"`
	Text string  `json:"text"`
	Next string  `json:"next"`
}

// Explain says why a job of the board does not run, all reasons together, and which others do not because of it; the board must have
// the job.
func Explain(b Board, id ID) []Why {
	p := newPlanner(b)
	j := p.find(id)
	all := p.why(j)
	if j.LacksFiles() && !j.State.Open() {
		next := map[State]string{
			Running:   "the run was ordered before, and goes on without it: put the file under a good name, then sluice restate does the day with it",
			Succeeded: "the day is closed without it: put the file under a good name, then sluice restate does the day with it",
			Cancelled: "the day goes on without it, unless it is redriven or restated",
		}[j.State]
		if next == "" {
			next = UnreadNext
		}
		all = append(all, Why{WhyUnread, j.Unread.Text, next})
	}
	var blocked []string
	for _, other := range p.blockedBy(j) {
		blocked = append(blocked, other.String())
	}
	if len(blocked) > 0 {
		all = append(all, Why{WhyBlocks, strings.Join(blocked, ", "), "they go on when this job does"})
	}
	return all
}

// blockedBy returns the jobs that are blocked because of j, also through others, in order.
func (p planner) blockedBy(j *entry) []ID {
	found := map[ID]bool{}
	for todo := []*entry{j}; len(todo) > 0; {
		j, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for _, other := range p.dependants(j) {
			if other.State == Blocked && !found[other.ID] {
				found[other.ID] = true
				todo = append(todo, other)
			}
		}
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b ID) int { return strings.Compare(a.String(), b.String()) })
}

func (p planner) why(j *entry) []Why {
	b := p.Board
	switch j.State {
	case Running:
		if j.Cancel != "" {
			return []Why{{WhyRuns, "run " + fmt.Sprint(j.Token) + " is being ended: " + j.Cancel, "its engine says when it ended"}}
		}
		all := []Why{{WhyRuns, fmt.Sprintf("run %d runs on %s since %s", j.Token, j.Engine, j.StartedAt.UTC().Format("2006-01-02T15:04:05Z")), ""}}
		if j.Reason != "" {
			all = append(all, Why{WhyOverdue, j.Reason, "sluice job show names its step, whose log says where it is; sluice cancel ends it"})
		}
		return all
	case Succeeded:
		return []Why{{WhyClosedDay, "the day is closed: it succeeded in run " + fmt.Sprint(j.Token), "sluice restate does it again, with the files that came late"}}
	case Held:
		next := "sluice release lets it go on"
		switch last := b.LastDay[j.Feed]; {
		case j.early(last):
			next = "sluice restate does it as a new revision"
		case j.Planned(last):
			next = "that day is not the last one any more: the next tick lets it go on"
		}
		return []Why{{WhyHold, j.Reason, next}}
	case Failed:
		return []Why{{WhyEnded, j.Reason, "mend the files and deliver the day again, or sluice redrive"}}
	case Dead:
		return []Why{{WhyEnded, fmt.Sprintf("no attempt is left after %d: %s", j.Attempts(), j.Reason), "mend the cause, then sluice redrive"}}
	case Cancelled:
		if j.Done() {
			return []Why{{WhyClosedDay, j.Reason + "; the day stays closed as it was", "sluice restate does it again, with the files that came late"}}
		}
		if j.TakenBack() {
			return []Why{{WhyEnded, j.Reason + "; it is as if the day had never been delivered", "deliver the day again, all its files and the marker: it opens by itself"}}
		}
		return []Why{{WhyEnded, j.Reason, "sluice redrive does it after all"}}
	case Waiting, Ready, Blocked:
	}
	return p.waits(j)
}

// waits lists why an open job does not start now.
func (p planner) waits(j *entry) []Why {
	feed, ok := p.Feeds[j.Feed]
	if !ok {
		return []Why{{WhyNoDay, fmt.Sprintf("feed %s is not deployed", j.Feed), "add the feed to the stack again"}}
	}
	var all []Why
	for _, o := range p.obstacles(j, feed) {
		next := "it comes by itself"
		switch {
		case o.kind == WhyUnread:
			next = UnreadNext
		case o.next != "":
			next = o.next
		case o.blocks:
			next = "somebody has to bring it: sluice explain tells what about it"
		case o.kind == WhyAttempt:
			next = "it comes by itself; sluice redrive makes it at once"
		}
		all = append(all, Why{o.kind, "waits for " + o.text, next})
		if o.blocks {
			all[len(all)-1].Text = o.text
		}
	}
	if off, isOff := p.Off[feed.engine()]; isOff {
		all = append(all, Why{WhySwitch, off, "sluice compute on"})
	}
	if len(all) > 0 {
		return all
	}
	taken := make([]string, 0, len(p.Slots))
	for _, id := range p.Slots {
		taken = append(taken, id.String())
	}
	text := fmt.Sprintf("%d of %d slots are taken: %s", len(taken), p.Parallel, strings.Join(taken, ", "))
	if len(taken) == 0 {
		text = fmt.Sprintf("none of %d slots is taken", p.Parallel)
	}
	starts := slices.ContainsFunc(Plan(p.Board), func(d Decision) bool { return d.ID == j.ID && d.To == Running })
	switch {
	case j.State != Ready:
		return []Why{{WhySlot, "nothing is in its way", "the next tick makes it ready"}}
	case starts:
		return []Why{{WhySlot, text, "the next tick starts it"}}
	}
	return []Why{{WhySlot, text, "it starts when one is free and those with the longer remaining path have theirs"}}
}
