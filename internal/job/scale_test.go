package job

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anyBoard is a board with whatever may stand on it: restated days, retries, running days, feeds that are gone, files without a job.
func anyBoard(t *rapid.T) Board {
	b := example()
	b.Feeds = randomFeeds(t)
	b.Parallel = rapid.IntRange(1, 6).Draw(t, "parallel")
	states := []State{Waiting, Waiting, Ready, Running, Succeeded, Failed, Dead, Blocked, Held, Cancelled}
	var days []Day
	for day := d1; len(days) < 8; day = day.Next() {
		days = append(days, day)
	}
	names := append(sortedNames(b.Feeds), "gone")
	for _, name := range names {
		if rapid.Bool().Draw(t, "has a last day") {
			b.LastDay[name] = rapid.SampledFrom(days).Draw(t, "last day")
		}
		for _, day := range days {
			switch rapid.IntRange(0, 3).Draw(t, "job, files or nothing") {
			case 0:
				continue
			case 1:
				b.Landed[name] = append(b.Landed[name], day)
				continue
			}
			j := in(rapid.SampledFrom(states).Draw(t, "state"), name, day)
			j.Reason = rapid.SampledFrom([]string{"", "waits for a", "emr is off"}).Draw(t, "reason")
			j.Revision, j.Token = rapid.Int64Range(0, 3).Draw(t, "revision"), rapid.Int64Range(0, 3).Draw(t, "token")
			if rapid.IntRange(0, 4).Draw(t, "a person's") == 0 {
				j.Acts = []Act{{Verb: rapid.SampledFrom([]Verb{Hold, Release}).Draw(t, "act")}}
			}
			j.Retract = j.Revision > 1 && rapid.Bool().Draw(t, "retract")
			j.CreatedAt = at(noon).Add(-rapid.SampledFrom([]time.Duration{0, 48 * time.Hour, 999 * time.Hour}).Draw(t, "age"))
			j.Sizing.Bytes = rapid.Int64Range(0, 1e11).Draw(t, "bytes")
			j.Commit.State = rapid.SampledFrom([]CommitState{Uncommitted, Committed}).Draw(t, "commit")
			if rapid.IntRange(0, 4).Draw(t, "retry") == 0 {
				j.RetryAt, j.Trouble = at(noon).Add(rapid.SampledFrom([]time.Duration{-time.Minute, time.Minute}).Draw(t, "at")), "lost"
			}
			b.Jobs[j.ID] = j
			if j.State == Running && rapid.IntRange(0, 9).Draw(t, "has its slot") > 0 {
				b.Slots = append(b.Slots, j.ID)
			}
		}
	}
	b.Off = rapid.SampledFrom([]map[string]string{nil, {}, {"emr": "emr is off"}}).Draw(t, "off")
	return b
}

func TestPlanDecidesAsThePlanThatLooksAtEveryJobForEveryJob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBoard(t)
		if got, want := Plan(b), naivePlan(b); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestExplainNamesTheJobsThatThePlanThatLooksAtEveryJobFindsBlocked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBoard(t)
		p, n := newPlanner(b), naive{Board: b}
		for id, j := range b.Jobs {
			want := map[ID]bool{}
			for todo := []Job{j}; len(todo) > 0; todo = todo[1:] {
				for _, other := range n.dependants(todo[0]) {
					if other.State == Blocked && !want[other.ID] {
						want[other.ID] = true
						todo = append(todo, other)
					}
				}
			}
			got := p.blockedBy(p.find(id))
			if len(got) != len(want) || slices.ContainsFunc(got, func(id ID) bool { return !want[id] }) {
				t.Fatalf("%s blocks %v, not %v", id, got, want)
			}
		}
	})
}

func TestMovesAreThoseOfPlansOneAfterAnother(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := anyBoard(t)
		b.Off = nil
		again := b
		again.Jobs = maps.Clone(b.Jobs)
		m := NewMoves(b)
		for round := 0; ; round++ {
			got := m.Next()
			want := slices.DeleteFunc(naivePlan(again), func(d Decision) bool { return d.To == Running })
			if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("round %d: got  %+v\nwant %+v", round, got, want)
			}
			if len(got) == 0 {
				break
			}
			for _, d := range got {
				m.Made(d)
				j := again.Jobs[d.ID]
				j.State, j.Reason = d.To, d.Reason
				again.Jobs[d.ID] = j
			}
		}
		if !reflect.DeepEqual(b.Jobs, again.Jobs) {
			t.Fatalf("the board ends as %+v, not as %+v", b.Jobs, again.Jobs)
		}
	})
}

// TestRoundsOfAPlanJudgeOnlyWhatMayHaveChanged counts judgements instead of time: a chain of blocked days takes as many rounds as it has days.
func TestRoundsOfAPlanJudgeOnlyWhatMayHaveChanged(t *testing.T) {
	const days = 1000
	b := example(in(Dead, "a", d1))
	day := d1
	for range days {
		day = day.Next()
		j := in(Waiting, "a", day)
		j.CreatedAt, j.Revision = at(noon), 1
		b.Jobs[j.ID] = j
	}
	m := NewMoves(b)
	judged := 0
	for moves := m.due; len(moves) > 0; moves = m.due {
		judged += len(moves)
		for _, d := range m.Next() {
			m.Made(d)
		}
	}
	if last := b.Jobs[ID{"a", day}]; last.State != Blocked || judged > 3*days {
		t.Errorf("%d jobs judged, the last one is %s: %s", judged, last.State, last.Reason)
	}
}

// TestTenYearsOfOpenDaysArePlanned measures how long it takes: see bench/backlog.md. It plans a month, and ten years with BACKLOG=1.
func TestTenYearsOfOpenDaysArePlanned(t *testing.T) {
	days := 30
	if os.Getenv("BACKLOG") != "" {
		days = 3650
	}
	board := Board{Now: at(noon), Zone: time.UTC, Parallel: 5, LastDay: map[string]Day{}, Jobs: map[ID]Job{}, Feeds: map[string]Feed{}}
	for n := range 5 {
		f := Feed{Name: fmt.Sprintf("feed%d", n)}
		if n > 0 {
			f.Prerequisites = []string{fmt.Sprintf("feed%d", n-1)}
		}
		board.Feeds[f.Name] = f
		day := Day("2003-01-01")
		for range days {
			board.Jobs[ID{f.Name, day}] = Job{ID: ID{f.Name, day}, State: Ready, Revision: 1, CreatedAt: at(noon)}
			day = day.Next()
		}
	}
	measured := func(plan func(Board) []Decision) []Decision {
		var before, after syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
		began := time.Now()
		decisions := plan(board)
		took := time.Since(began)
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
		processor := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		t.Logf("| %d | %.2f s | %.2f s | %d MB |", len(board.Jobs), took.Seconds(), processor.Seconds(), after.Maxrss/1000)
		return decisions
	}
	got := measured(Plan)
	want := measured(naivePlan)
	if !reflect.DeepEqual(got, want) || len(got) != len(board.Jobs) { // all but the first one wait, which starts
		t.Errorf("%d decisions, not %d", len(got), len(want))
	}
}
