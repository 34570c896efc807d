package job

import (
	"reflect"
	"testing"
	"time"
)

// partly is a board at some time with a day that waits for an earlier one of which only some files came.
func partly(now string) Board {
	b := example(in(Waiting, "a", d2))
	b.Country, b.Now, b.Landed["a"] = "us", at(now), []Day{d1}
	return b
}

func TestExplainNamesEveryReason(t *testing.T) {
	full := example(in(Running, "x", d1), in(Ready, "a", d1))
	full.Parallel = 1
	off := example(in(Ready, "a", d1))
	off.Off = map[string]string{"emr": "emr is off"}
	ready := example(in(Ready, "a", d1))
	longAgo := in(Waiting, "b", d1)
	longAgo.CreatedAt = at("2013-01-01T00:00:00Z")
	for name, c := range map[string]struct {
		board Board
		id    ID
		want  []Why
	}{
		"slot":  {full, ID{"a", d1}, []Why{{WhySlot, "1 of 1 slots are taken: x/2013-01-01", "it starts when one is free and those with the longer remaining path have theirs"}}},
		"start": {ready, ID{"a", d1}, []Why{{WhySlot, "none of 5 slots is taken", "the next tick starts it"}}},
		"tick":  {example(in(Waiting, "a", d1)), ID{"a", d1}, []Why{{WhySlot, "nothing is in its way", "the next tick makes it ready"}}},
		"earlier day and prerequisites": {example(in(Running, "c", d1), in(Waiting, "a", d2), in(Waiting, "c", d2)), ID{"c", d2}, []Why{
			{WhyEarlierDay, "waits for c 2013-01-01", "it comes by itself"}, {WhyPrerequisite, "waits for a", "it comes by itself"}, {WhyPrerequisite, "waits for b", "it comes by itself"}}},
		"absent prerequisite": {example(longAgo), ID{"b", d1},
			[]Why{{WhyPrerequisite, "prerequisite a did not come: deliver its day", "somebody has to bring it: sluice explain tells what about it"}}},
		"lease": {example(Job{ID: ID{"a", d1}, State: Waiting, Revision: 2}, in(Succeeded, "a", d2), in(Running, "a", d3)), ID{"a", d1},
			[]Why{{WhyLease, "waits for a 2013-01-03, which runs", "it comes by itself"}}},
		"attempt": {example(Job{ID: ID{"a", d1}, State: Waiting, Token: 1, RetryAt: at(noon).Add(time.Minute), Trouble: "lost"}), ID{"a", d1},
			[]Why{{WhyAttempt, "waits for attempt 2 of 3 at 2013-01-02T12:01:00Z, because the last one failed: lost", "it comes by itself; sluice redrive makes it at once"}}},
		"switch":     {off, ID{"a", d1}, []Why{{WhySwitch, "emr is off", "sluice compute on"}}},
		"closed day": {example(Job{ID: ID{"a", d1}, State: Succeeded, Token: 2}), ID{"a", d1}, []Why{{WhyClosedDay, "the day is closed: it succeeded in run 2", "sluice restate does it again, with the files that came late"}}},
		"cancelled":  {example(Job{ID: ID{"a", d1}, State: Cancelled, Reason: "cancel by ann"}), ID{"a", d1}, []Why{{WhyEnded, "cancel by ann", "sluice redrive does it after all"}}},
		"cancelled restatement": {example(Job{ID: ID{"a", d1}, State: Cancelled, Revision: 2, Commit: Commit{1, 1, Committed}, Reason: "cancel by ann"}), ID{"a", d1},
			[]Why{{WhyClosedDay, "cancel by ann; the day stays closed as it was", "sluice restate does it again, with the files that came late"}}},
		"hold": {example(Job{ID: ID{"a", d1}, State: Held, Reason: "hold by ann", Acts: []Act{{Verb: Hold}}}), ID{"a", d1}, []Why{{WhyHold, "hold by ann", "sluice release lets it go on"}}},
		"held by a rule that holds no more": {example(Job{ID: ID{"a", d1}, State: Held, Reason: "early"}), ID{"a", d1},
			[]Why{{WhyHold, "early", "that day is not the last one any more: the next tick lets it go on"}}},
		"retracted": {example(Job{ID: ID{"a", d1}, State: Cancelled, Revision: 2, Retracted: 2, Reason: "retract by ann"}), ID{"a", d1},
			[]Why{{WhyEnded, "retract by ann; it is as if the day had never been delivered", "deliver the day again, all its files and the marker: it opens by itself"}}},
		"earlier day that is not complete": {partly(noon), ID{"a", d2}, []Why{{WhyEarlierDay, "waits for a 2013-01-01, which is not complete", "put what it lacks, or give it up: sluice cancel a/2013-01-01 --country us"}}},
		"earlier day that did not become complete": {partly("2013-01-09T12:00:00Z"), ID{"a", d2},
			[]Why{{WhyEarlierDay, "a 2013-01-01 has files but is not complete: complete it, or give it up with sluice cancel a/2013-01-01 --country us",
				"put what it lacks, or give it up: sluice cancel a/2013-01-01 --country us"}}},
		"held by the rule": {example(Job{ID: ID{"a", d1}, State: Held, Reason: "early"}, in(Succeeded, "a", d2)), ID{"a", d1},
			[]Why{{WhyHold, "early", "sluice restate does it as a new revision"}}},
		"dead": {example(Job{ID: ID{"a", d1}, State: Dead, Token: 3, Reason: "no memory"}), ID{"a", d1}, []Why{{WhyEnded, "no attempt is left after 3: no memory", "mend the cause, then sluice redrive"}}},
		"blocks": {example(Job{ID: ID{"a", d1}, State: Dead, Token: 3, Reason: "no"}, in(Blocked, "b", d1), in(Blocked, "c", d1), in(Blocked, "a", d2), in(Waiting, "b", d2)), ID{"a", d1}, []Why{
			{WhyEnded, "no attempt is left after 3: no", "mend the cause, then sluice redrive"},
			{WhyBlocks, "a/2013-01-02, b/2013-01-01, c/2013-01-01", "they go on when this job does"}}},
		"runs": {example(Job{ID: ID{"a", d1}, State: Running, Token: 3, Engine: "emr", StartedAt: at(noon)}), ID{"a", d1}, []Why{{WhyRuns, "run 3 runs on emr since 2013-01-02T12:00:00Z", ""}}},
		"overdue": {example(Job{ID: ID{"a", d1}, State: Running, Token: 3, Engine: "emr", StartedAt: at(noon), Reason: "run 3 has not ended"}), ID{"a", d1}, []Why{
			{WhyRuns, "run 3 runs on emr since 2013-01-02T12:00:00Z", ""},
			{WhyOverdue, "run 3 has not ended", "sluice job show names its step, whose log says where it is; sluice cancel ends it"}}},
		"gone": {example(in(Waiting, "gone", d1)), ID{"gone", d1}, []Why{{WhyNoDay, "feed gone is not deployed", "add the feed to the stack again"}}},
	} {
		if got := Explain(c.board, c.id); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, c.want)
		}
	}
}
