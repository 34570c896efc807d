package job

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/sizing"
)

const noon = "2013-01-02T12:00:00Z"

// example is a board of feeds a, b (after a) and c (after a and b) with five slots.
func example(jobs ...Job) Board {
	b := Board{
		Now: at(noon), Zone: time.UTC, Parallel: 5, LastDay: map[string]Day{}, Jobs: map[ID]Job{}, Landed: map[string][]Day{},
		Feeds: map[string]Feed{"a": {Name: "a"}, "b": {Name: "b", Prerequisites: []string{"a"}}, "c": {Name: "c", Prerequisites: []string{"a", "b"}}},
	}
	for _, j := range jobs {
		if j.CreatedAt.IsZero() {
			j.CreatedAt = at(noon)
		}
		if j.Revision == 0 {
			j.Revision = 1
		}
		b.Jobs[j.ID] = j
		if j.State == Running {
			b.Slots = append(b.Slots, j.ID)
		}
		if j.State == Succeeded {
			b.LastDay[j.Feed] = max(b.LastDay[j.Feed], j.Day)
		}
	}
	return b
}

func in(state State, feed string, day Day) Job { return Job{ID: ID{feed, day}, State: state} }

const d1, d2, d3 = Day("2013-01-01"), Day("2013-01-02"), Day("2013-01-03")

func TestPlanDecides(t *testing.T) {
	longAgo := at("2013-01-01T00:00:00Z")
	created := func(j Job, at time.Time) Job { j.CreatedAt = at; return j }
	for name, c := range map[string]struct {
		board Board
		want  []Decision
	}{
		"nothing on an empty board": {example(), nil},
		"JobWithoutPrerequisitesBecomesReady": {
			example(in(Waiting, "a", d1)),
			[]Decision{{ID: ID{"a", d1}, From: Waiting, To: Ready}}},
		"ReadyJobStarts": {
			example(in(Ready, "a", d1)),
			[]Decision{{ID: ID{"a", d1}, From: Ready, To: Running}}},
		"DependentWaitsForPrerequisite": {
			example(in(Running, "a", d1), in(Waiting, "b", d1)),
			[]Decision{{ID: ID{"b", d1}, From: Waiting, To: Waiting, Reason: "waits for a"}}},
		"DependentWaitsForAllItsPrerequisites": {
			example(in(Running, "a", d1), in(Waiting, "b", d1), in(Waiting, "c", d1)),
			[]Decision{
				{ID: ID{"b", d1}, From: Waiting, To: Waiting, Reason: "waits for a"},
				{ID: ID{"c", d1}, From: Waiting, To: Waiting, Reason: "waits for a, b"}}},
		"DependentWaitsForItsOwnDayOnly": {
			example(in(Succeeded, "a", d1), in(Running, "a", d2), in(Waiting, "b", d1)),
			[]Decision{{ID: ID{"b", d1}, From: Waiting, To: Ready}}},
		"DependentWaitsForPrerequisiteThatIsNotThereYet": {
			example(in(Waiting, "b", d1)),
			[]Decision{{ID: ID{"b", d1}, From: Waiting, To: Waiting, Reason: "waits for a"}}},
		"AbsentPrerequisiteBlocksWhenTheWindowEnded": {
			example(created(in(Waiting, "b", d1), longAgo)),
			[]Decision{{ID: ID{"b", d1}, From: Waiting, To: Blocked, Reason: "prerequisite a did not come: deliver its day", Alert: true}}},
		"BlockedJobWaitsAgainWhenItsPrerequisiteCame": {
			example(in(Blocked, "b", d1), in(Running, "a", d1)),
			[]Decision{{ID: ID{"b", d1}, From: Blocked, To: Waiting, Reason: "waits for a"}}},
		"FailedPrerequisiteBlocks": {
			example(in(Failed, "a", d1), in(Waiting, "b", d1)),
			[]Decision{{ID: ID{"b", d1}, From: Waiting, To: Blocked, Reason: "a is failed"}}},
		"DaysOfOneFeedRunInOrder": {
			example(in(Running, "a", d1), in(Waiting, "a", d2), in(Waiting, "a", d3)),
			[]Decision{
				{ID: ID{"a", d2}, From: Waiting, To: Waiting, Reason: "waits for a 2013-01-01"},
				{ID: ID{"a", d3}, From: Waiting, To: Waiting, Reason: "waits for a 2013-01-02"}}},
		"FailedDayBlocksTheNext": {
			example(in(Failed, "a", d1), in(Waiting, "a", d2)),
			[]Decision{{ID: ID{"a", d2}, From: Waiting, To: Blocked, Reason: "a 2013-01-01 is failed"}}},
		"CancelledDayIsPassedOver": {
			example(in(Cancelled, "a", d1), in(Waiting, "a", d2)),
			[]Decision{{ID: ID{"a", d2}, From: Waiting, To: Ready}}},
		"HeldDayIsWaitedFor": {
			example(Job{ID: ID{"a", d1}, State: Held, Acts: []Act{{Verb: Hold}}}, in(Waiting, "a", d2)),
			[]Decision{{ID: ID{"a", d2}, From: Waiting, To: Waiting, Reason: "waits for a 2013-01-01, which is held"}}},
		"DayBeforeTheLastSucceededOneIsHeld": {
			example(in(Succeeded, "a", d2), in(Waiting, "a", d1)),
			[]Decision{{ID: ID{"a", d1}, From: Waiting, To: Held, Alert: true,
				Reason: "the day is earlier than 2013-01-02, the last one that succeeded: it needs a restatement"}}},
		"ReadyDayGivesWayToAnEarlierOne": {
			example(in(Ready, "a", d2), in(Waiting, "a", d1)),
			[]Decision{
				{ID: ID{"a", d1}, From: Waiting, To: Ready},
				{ID: ID{"a", d2}, From: Ready, To: Waiting, Reason: "waits for a 2013-01-01"}}},
		"JobOfAFeedThatIsGoneIsBlocked": {
			example(in(Waiting, "gone", d1)),
			[]Decision{{ID: ID{"gone", d1}, From: Waiting, To: Blocked, Reason: "feed gone is not deployed", Alert: true}}},
		"FailedAttemptIsWaitedOut": {
			example(Job{ID: ID{"a", d1}, State: Waiting, Token: 1, RetryAt: at(noon).Add(time.Minute), Trouble: "out of memory"}, in(Waiting, "b", d1)),
			[]Decision{
				{ID: ID{"a", d1}, From: Waiting, To: Waiting, Token: 1, Reason: "waits for attempt 2 of 3 at 2013-01-02T12:01:00Z, because the last one failed: out of memory"},
				{ID: ID{"b", d1}, From: Waiting, To: Waiting, Reason: "waits for a"}}},
		"NextAttemptComesWhenItsTimeHasCome": {
			example(Job{ID: ID{"a", d1}, State: Waiting, Token: 1, RetryAt: at(noon), Trouble: "out of memory"}),
			[]Decision{{ID: ID{"a", d1}, From: Waiting, To: Ready, Token: 1}}},
		"DeadJobBlocksItsDependants": {
			example(in(Dead, "a", d1), in(Waiting, "b", d1), in(Waiting, "a", d2)),
			[]Decision{
				{ID: ID{"b", d1}, From: Waiting, To: Blocked, Reason: "a is dead"},
				{ID: ID{"a", d2}, From: Waiting, To: Blocked, Reason: "a 2013-01-01 is dead"}}},
		"RestatedDayWaitsForTheLaterOneThatRuns": {
			example(Job{ID: ID{"a", d1}, State: Ready, Revision: 2}, in(Succeeded, "a", d2), in(Running, "a", d3)),
			[]Decision{{ID: ID{"a", d1}, From: Ready, To: Waiting, Reason: "waits for a 2013-01-03, which runs"}}},
		"RestatedDaysRunInOrder": {
			example(Job{ID: ID{"a", d1}, State: Waiting, Revision: 2}, Job{ID: ID{"a", d2}, State: Waiting, Revision: 2}, in(Succeeded, "a", d3)),
			[]Decision{
				{ID: ID{"a", d1}, From: Waiting, To: Ready},
				{ID: ID{"a", d2}, From: Waiting, To: Waiting, Reason: "waits for a 2013-01-01"}}},
		"NewDayGoesBeforeARestatementAndOnlyOneRunsOnAFeed": {
			example(Job{ID: ID{"a", d1}, State: Ready, Revision: 2}, in(Succeeded, "a", d2), in(Ready, "a", d3)),
			[]Decision{{ID: ID{"a", d3}, From: Ready, To: Running}}},
		"SameReasonIsNotWrittenAgain": {
			example(in(Running, "a", d1), Job{ID: ID{"b", d1}, State: Waiting, Reason: "waits for a"}),
			nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Plan(c.board); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}

func TestReadyJobStaysReadyWhileItsEngineIsOff(t *testing.T) {
	b := example(in(Ready, "a", d1), in(Ready, "c", d1))
	b.Feeds = map[string]Feed{"a": {Name: "a", Engine: "auto"}, "c": {Name: "c", Engine: "glue"}}
	b.Parallel = 1
	told := func(j Job) Board {
		b.Jobs[j.ID] = j
		return b
	}
	off, on := map[string]string{"emr": "emr is off"}, map[string]string{}
	for _, c := range []struct {
		promise string
		off     map[string]string
		reason  string
		want    []Decision
	}{
		{"the reason is written, and the slot goes to a job that can start", off, "",
			[]Decision{{ID: ID{"a", d1}, From: Ready, To: Ready, Reason: "emr is off"}, {ID: ID{"c", d1}, From: Ready, To: Running}}},
		{"the reason is written once", off, "emr is off", []Decision{{ID: ID{"c", d1}, From: Ready, To: Running}}},
		{"who does not know the switch leaves the reason alone", nil, "emr is off", []Decision{{ID: ID{"a", d1}, From: Ready, To: Running}}},
		{"the reason goes with its cause", on, "emr is off", []Decision{{ID: ID{"a", d1}, From: Ready, To: Ready}, {ID: ID{"a", d1}, From: Ready, To: Running}}},
	} {
		a := in(Ready, "a", d1)
		a.Reason = c.reason
		b.Off = c.off
		if got := Plan(told(a)); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.promise, got, c.want)
		}
	}
}

func TestDayWaitsForEarlierFilesThatAreNotComplete(t *testing.T) {
	b := example(in(Waiting, "a", d2))
	b.Landed["a"] = []Day{d1, d3}
	want := []Decision{{ID: ID{"a", d2}, From: Waiting, To: Waiting, Reason: "waits for a 2013-01-01, which is not complete"}}
	if got := Plan(b); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	b.Now = at("2013-01-03T01:00:00Z") // an hour after the day
	want = []Decision{{ID: ID{"a", d2}, From: Waiting, To: Blocked, Alert: true, Reason: "a 2013-01-01 has files but is not complete: complete it, or give it up with sluice cancel a/2013-01-01"}}
	if got := Plan(b); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestWhatGoesOnByItselfMoves(t *testing.T) {
	for _, c := range []struct {
		job  Job
		want bool
	}{
		{Job{State: Running}, true},
		{Job{State: Running, Cancel: "by ann"}, true},
		{Job{State: Ready}, true},
		{Job{State: Ready, Reason: "emr is switched off"}, false},
		{Job{State: Waiting, Reason: "waits for attempt 2", RetryAt: time.Unix(1, 0)}, true},
		{Job{State: Waiting, Reason: "waits for airports"}, false},
		{Job{State: Blocked}, false}, {Job{State: Held}, false}, {Job{State: Failed}, false}, {Job{State: Dead}, false},
		{Job{State: Cancelled}, false}, {Job{State: Succeeded}, false},
	} {
		if got := c.job.Moves(); got != c.want {
			t.Errorf("%s (%s): %v", c.job.State, c.job.Reason, got)
		}
	}
}

func TestNeverMoreThanParallelSlotsAreTaken(t *testing.T) {
	b := example(in(Running, "a", d1))
	for _, name := range []string{"p", "q", "r", "s", "t", "u"} {
		b.Feeds[name] = Feed{Name: name}
		b.Jobs[ID{name, d1}] = in(Ready, name, d1)
	}
	if got := starts(Plan(b)); len(got) != 4 {
		t.Errorf("beside one running job %d were started: %v", len(got), got)
	}
	b.Parallel = 1
	if got := starts(Plan(b)); len(got) != 0 {
		t.Errorf("without a free slot %v were started", got)
	}
}

func TestLongestRemainingPathGoesFirst(t *testing.T) {
	b := example(in(Ready, "a", d1), in(Waiting, "b", d1), in(Waiting, "c", d1))
	b.Parallel = 1
	b.Feeds["x"] = Feed{Name: "x"}
	big := in(Ready, "x", "2012-12-31") // earlier, and longer than a alone, but nothing waits for it
	big.Sizing = sizing.Decision{Bytes: 4_000_000_000}
	b.Jobs[big.ID] = big
	if got := starts(Plan(b)); !slices.Equal(got, []ID{{"a", d1}}) {
		t.Errorf("got %v", got)
	}
	big.Sizing.Bytes = 40_000_000_000
	b.Jobs[big.ID] = big
	if got := starts(Plan(b)); !slices.Equal(got, []ID{{"x", "2012-12-31"}}) {
		t.Errorf("got %v", got)
	}
}

func starts(decisions []Decision) []ID {
	var ids []ID
	for _, d := range decisions {
		if d.To == Running {
			ids = append(ids, d.ID)
		}
	}
	return ids
}

func TestOnlyLegalTransitionsArePlanned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := randomBoard(t)
		for _, d := range Plan(b) {
			if d.From != d.To && !d.From.CanBecome(d.To) {
				t.Fatalf("illegal: %+v", d)
			}
			if b.Jobs[d.ID].State != d.From || b.Jobs[d.ID].Token != d.Token {
				t.Fatalf("not what is on the board: %+v", d)
			}
		}
	})
}

func TestSameBoardGivesSamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := randomBoard(t)
		first := Plan(b)
		for range 5 {
			if got := Plan(b); !reflect.DeepEqual(got, first) {
				t.Fatalf("got %+v, then %+v", first, got)
			}
		}
	})
}

// randomFeeds makes feeds whose prerequisites are feeds before them.
func randomFeeds(t *rapid.T) map[string]Feed {
	feeds := map[string]Feed{}
	var names []string
	for i := range rapid.IntRange(1, 8).Draw(t, "feeds") {
		f := Feed{Name: string(rune('a' + i)), Completeness: ByMarker}
		for _, p := range names {
			if rapid.IntRange(0, 2).Draw(t, "needs "+p) == 0 {
				f.Prerequisites = append(f.Prerequisites, p)
			}
		}
		feeds[f.Name] = f
		names = append(names, f.Name)
	}
	return feeds
}

func randomBoard(t *rapid.T) Board {
	b := example()
	b.Feeds = randomFeeds(t)
	b.Parallel = rapid.IntRange(1, 6).Draw(t, "parallel")
	states := []State{Waiting, Ready, Running, Succeeded, Failed, Dead, Blocked, Held, Cancelled}
	for _, name := range sortedNames(b.Feeds) {
		for _, day := range []Day{d1, d2, d3} {
			if !rapid.Bool().Draw(t, "has job") {
				continue
			}
			j := in(rapid.SampledFrom(states).Draw(t, "state"), name, day)
			j.Revision, j.CreatedAt = 1, at(noon).Add(-rapid.SampledFrom([]time.Duration{0, 48 * time.Hour}).Draw(t, "age"))
			j.Sizing.Bytes = rapid.Int64Range(0, 1e11).Draw(t, "bytes")
			b.Jobs[j.ID] = j
			if j.State == Running {
				b.Slots = append(b.Slots, j.ID)
			}
			if j.State == Succeeded {
				b.LastDay[name] = max(b.LastDay[name], day)
			}
		}
	}
	return b
}

// TestAllJobsEndInOrder works random days off, with deliveries, starts and ends in any order, and checks what must hold at every step.
func TestAllJobsEndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := example()
		b.Feeds = randomFeeds(t)
		b.Parallel = rapid.IntRange(1, 5).Draw(t, "parallel")
		days := []Day{d1, d2, d3}
		arrived := map[string]int{} // days of a feed arrive in order; what order feeds arrive in is anybody's guess
		for step := 0; ; step++ {
			if step > 2000 {
				t.Fatalf("no end: %+v", b.Jobs)
			}
			var coming []string
			for _, name := range sortedNames(b.Feeds) {
				if arrived[name] < len(days) {
					coming = append(coming, name)
				}
			}
			if len(coming) == 0 && len(b.Slots) == 0 && len(Plan(b)) == 0 {
				break
			}
			switch rapid.SampledFrom([]string{"arrive", "plan", "end"}).Draw(t, "event") {
			case "arrive":
				if len(coming) > 0 {
					name := rapid.SampledFrom(coming).Draw(t, "feed")
					j := in(Waiting, name, days[arrived[name]])
					j.Revision, j.CreatedAt = 1, b.Now
					b.Jobs[j.ID] = j
					arrived[name]++
				}
			case "plan":
				for _, d := range Plan(b) {
					if d.To == Running {
						mayStart(t, b, d.ID)
						b.Slots = append(b.Slots, d.ID)
					}
					j := b.Jobs[d.ID]
					j.State, j.Reason = d.To, d.Reason
					b.Jobs[d.ID] = j
				}
				if len(b.Slots) > b.Parallel {
					t.Fatalf("%d at once, %d allowed", len(b.Slots), b.Parallel)
				}
			case "end":
				if len(b.Slots) > 0 {
					i := rapid.IntRange(0, len(b.Slots)-1).Draw(t, "which")
					j := b.Jobs[b.Slots[i]]
					j.State = Succeeded
					b.Jobs[j.ID] = j
					b.LastDay[j.Feed] = max(b.LastDay[j.Feed], j.Day)
					b.Slots = slices.Delete(slices.Clone(b.Slots), i, i+1)
				}
			}
		}
		for id, j := range b.Jobs {
			if j.State != Succeeded {
				t.Fatalf("%s ended %s: %s", id, j.State, j.Reason)
			}
		}
	})
}

func mayStart(t *rapid.T, b Board, id ID) {
	if b.Jobs[id].State != Ready {
		t.Fatalf("%s starts, but is %s", id, b.Jobs[id].State)
	}
	for _, p := range b.Feeds[id.Feed].Prerequisites {
		if b.Jobs[ID{p, id.Day}].State != Succeeded {
			t.Fatalf("%s starts before its prerequisite %s", id, p)
		}
	}
	for other, j := range b.Jobs {
		if other.Feed == id.Feed && other.Day < id.Day && j.State != Succeeded {
			t.Fatalf("%s starts before %s", id, other)
		}
	}
}

func TestMissingDaysAreThoseWithFilesButNoJob(t *testing.T) {
	files := []File{
		{ID: ID{"a", d3}, Name: "x.csv"}, {ID: ID{"a", d1}, Name: "x.csv"}, {ID: ID{"a", d1}, Name: "y.csv"}, {ID: ID{"a", d2}, Name: "x.csv"},
		{ID: ID{"b", d1}, Name: Marker}, // a marker alone holds nobody up
	}
	got := MissingDays(files, map[ID]Job{{"a", d2}: {}})
	if want := map[string][]Day{"a": {d1, d3}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestEveryStateLeadsSomewhereButOpenAndEndedDoNotOverlap(t *testing.T) {
	for from, next := range transitions {
		if len(next) == 0 {
			t.Errorf("%s is a dead end", from)
		}
		if from.Open() && from.Ended() {
			t.Errorf("%s is open and ended", from)
		}
		for _, to := range next {
			if _, known := transitions[to]; !known {
				t.Errorf("%s leads to the unknown state %s", from, to)
			}
		}
	}
	if Succeeded.CanBecome(Running) || Waiting.CanBecome(Running) {
		t.Error("a job may not be started without having been ready, nor again without a restatement")
	}
}

func TestPlanComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := randomBoard(t)
		for round := 0; ; round++ {
			changed := false
			for _, d := range Plan(b) {
				if d.To != Running {
					j := b.Jobs[d.ID]
					j.State, j.Reason = d.To, d.Reason
					b.Jobs[d.ID] = j
					changed = true
				}
			}
			if !changed {
				return
			}
			if round > len(b.Jobs) {
				t.Fatalf("still changing after %d rounds: %+v", round, Plan(b))
			}
		}
	})
}

func TestDaysThatTheRuleHeldGoOnWhenTheLastDayIsRetracted(t *testing.T) {
	byRule, byAnn := in(Held, "a", d1), in(Held, "a", d2)
	byAnn.Acts = []Act{{Verb: Hold, By: "ann"}}
	released := in(Held, "a", d3)
	released.Acts = []Act{{Verb: Hold, By: "ann"}, {Verb: Release, By: "ann"}}
	b := example(byRule, byAnn, released)
	b.LastDay["a"] = "2099-01-01"
	if got := Plan(b); len(got) != 0 {
		t.Errorf("while it is the last day: %+v", got)
	}
	delete(b.LastDay, "a")
	want := []Decision{
		{ID: ID{"a", d1}, From: Held, To: Waiting},
		{ID: ID{"a", d3}, From: Held, To: Waiting, Reason: "waits for a 2013-01-02, which is held"},
	}
	if got := Plan(b); !reflect.DeepEqual(got, want) {
		t.Errorf("afterwards:\ngot  %+v\nwant %+v", got, want)
	}
}

func TestRetractionWaitsForNoOtherDayOrFeedButForWhatRuns(t *testing.T) {
	taken := Job{ID: ID{"b", d2}, State: Waiting, Revision: 2, Retract: true, Commit: Commit{1, 1, Committed}}
	gone := Job{ID: ID{"a", d2}, State: Cancelled, Revision: 2, Retracted: 2}
	b := example(taken, gone, in(Waiting, "b", d1))
	if got := Plan(b); len(got) == 0 || !slices.ContainsFunc(got, func(d Decision) bool { return d.ID == taken.ID && d.To == Ready }) {
		t.Errorf("got %+v", got)
	}
	for _, day := range []Day{d1, d3} {
		b = example(taken, gone, in(Running, "b", day))
		if got := Plan(b); len(got) != 1 || got[0].Reason != "waits for b "+string(day)+", which runs" {
			t.Errorf("while %s runs: %+v", day, got)
		}
	}
}

func TestRetractedDayKeepsLaterDaysNotBackAndBlocksWhatNeedsIt(t *testing.T) {
	gone := Job{ID: ID{"a", d1}, State: Cancelled, Revision: 2, Retracted: 2, Commit: Commit{2, 2, Committed}}
	got := Plan(example(gone, in(Waiting, "a", d2), in(Waiting, "b", d1)))
	want := []Decision{
		{ID: ID{"b", d1}, From: Waiting, To: Blocked, Reason: "a is cancelled"},
		{ID: ID{"a", d2}, From: Waiting, To: Ready},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
