package driver

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// past makes a day that has a job in some state, and two files that are recorded.
func (s *stage) past(t testing.TB, id job.ID, state job.State) {
	t.Helper()
	for _, name := range []string{"data.csv", job.Marker} {
		key := s.landing(id.String() + "/" + name)
		f := s.landed[key]
		f.ID, f.Name, f.State = id, name, job.Landed
		if state == job.Succeeded {
			f.State = job.Processed
		}
		if wrote, err := s.ledger.RecordFile(context.Background(), f, job.File{}); err != nil || !wrote {
			t.Fatalf("%s: %v, %v", key, wrote, err)
		}
	}
	text := func(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
	one := &types.AttributeValueMemberN{Value: "1"}
	emulator.Set(t, s.db, s.tables.Jobs, map[string]types.AttributeValue{"feed": text(id.Feed), "day": text(string(id.Day))},
		map[string]types.AttributeValue{"state": text(string(state)), "token": one, "revision": one, "createdAt": text("2012-01-01T00:00:00Z")})
	if state == job.Succeeded {
		emulator.Set(t, s.db, s.tables.Progress, map[string]types.AttributeValue{"name": text(id.Feed)}, map[string]types.AttributeValue{"lastDay": text(string(id.Day))})
	}
}

// landing puts an object and returns its key.
func (s *stage) landing(key string) string {
	s.put(key)
	return key
}

// daysOf are days of a feed one after another.
func daysOf(feed string, first job.Day, n int) (all []job.ID) {
	for range n {
		all, first = append(all, job.ID{Feed: feed, Day: first}), first.Next()
	}
	return all
}

// noTime is a budget that is over before anything is done.
func noTime(context.Context) func() bool { return func() bool { return true } }

func (s *stage) pass(t testing.TB) ledger.Pass {
	t.Helper()
	p, err := s.ledger.Pass(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPassFindsEveryLateFileHoweverLittleTimeEachInvocationHas has a late file in each of some days long closed, of which no event told, invocations
// that have time for nothing but the least, some of which die, and pages of any size.
func TestPassFindsEveryLateFileHoweverLittleTimeEachInvocationHas(t *testing.T) {
	t.Parallel()
	quiet(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t, 5, emulator.Feed("airports"), emulator.Feed("flights"))
		s.pageSize = rapid.IntRange(1, 9).Draw(rt, "page")
		s.intake.budget = noTime
		var late []string
		for _, id := range slices.Concat(daysOf("airports", "2011-12-30", 4), daysOf("flights", "2012-02-27", 4)) {
			s.past(t, id, job.Succeeded)
			for n := range rapid.IntRange(0, 3).Draw(rt, "late files") {
				late = append(late, s.landing(fmt.Sprintf("%s/late%d.csv", id, n)))
			}
		}
		s.put("zzz/no feed")
		objects := len(s.landed)
		ticks := 0
		for ; s.pass(t).Last.IsZero(); ticks++ {
			if ticks > 4*objects {
				rt.Fatalf("after %d ticks the pass is at %+v", ticks, s.pass(t))
			}
			if rapid.IntRange(0, 3).Draw(rt, "dies") == 0 && ticks < 2*objects {
				s.port = &port{at: rapid.IntRange(1, 30).Draw(rt, "call"), how: rapid.SampledFrom([]mishap{diesBefore, diesAfter, loses}).Draw(rt, "how")}
			}
			s.function(func(ctx context.Context) error { _, err := s.intake.Tick(ctx); return err })
			s.port = &port{}
		}
		for _, key := range late {
			id, name, _ := job.ParseKey(key)
			f, is, err := s.ledger.File(context.Background(), job.File{ID: id, Name: name})
			if err != nil || !is || f.State != job.Late {
				rt.Fatalf("%s is not late: %+v, %v", key, f, err)
			}
		}
		if rejected, err := s.ledger.Rejected(context.Background()); err != nil || len(rejected) != 1 {
			rt.Fatalf("rejected: %+v, %v", rejected, err)
		}
	})
}

func TestPassGoesOnWhereTheLastInvocationLeftItAndBeginsOnceAnHour(t *testing.T) {
	t.Parallel()
	quiet(t)
	s := newStage(t, 5, emulator.Feed("airports"))
	s.intake.budget, s.intake.always = noTime, false
	for _, id := range daysOf("airports", "2012-01-01", 6) {
		s.past(t, id, job.Succeeded)
	}
	began := s.now
	var after []string
	tick := func() ledger.Pass {
		t.Helper()
		if _, err := s.intake.Tick(t.Context()); err != nil {
			t.Fatal(err)
		}
		return s.pass(t)
	}
	for p := tick(); !p.Began.IsZero(); p = tick() {
		if !p.Began.Equal(began) || !p.Last.IsZero() {
			t.Fatalf("%+v", p)
		}
		after = append(after, p.After)
		s.now = s.now.Add(time.Minute)
	}
	if !slices.IsSorted(after) || len(slices.Compact(slices.Clone(after))) != len(after) || len(after) < 3 {
		t.Errorf("the pass went by %q", after)
	}
	if p := s.pass(t); p != (ledger.Pass{Last: began}) {
		t.Errorf("it ends as %+v", p)
	}
	s.now = began.Add(59 * time.Minute)
	if p := tick(); !p.Began.IsZero() {
		t.Errorf("within the hour: %+v", p)
	}
	for _, due := range []time.Time{began.Add(time.Hour), began.Add(-time.Hour)} { // an hour later, and by a clock that was ahead
		s.now = due
		s.intake.budget = nil
		if p := tick(); !p.Last.Equal(due) {
			t.Errorf("at %s: %+v", due, p)
		}
	}
}

func TestPassInWhichADayFailedIsMadeAgainAtOnceAndKeepsNoOtherDayBack(t *testing.T) {
	t.Parallel()
	quiet(t)
	s := newStage(t, 5, emulator.Feed("airports"))
	days := daysOf("airports", "2012-01-01", 3)
	for _, id := range days {
		s.past(t, id, job.Succeeded)
	}
	var late []string
	for _, id := range days {
		late = append(late, s.landing(id.String()+"/late.csv"))
	}
	s.intake.Landing = landingWithout{s, days[0].String(), errBusy}
	if _, err := s.intake.Tick(t.Context()); err == nil {
		t.Error("nothing failed")
	}
	for n, key := range late {
		id, name, _ := job.ParseKey(key)
		if _, is, err := s.ledger.File(t.Context(), job.File{ID: id, Name: name}); err != nil || is != (n > 0) {
			t.Errorf("%s is recorded: %v, %v", key, is, err)
		}
	}
	if p := s.pass(t); p != (ledger.Pass{}) {
		t.Errorf("the pass in which a day failed counts: %+v", p)
	}
	s.intake.Landing = s
	if _, err := s.intake.Tick(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := s.pass(t); !p.Last.Equal(s.now) {
		t.Errorf("%+v", p)
	}
}

// TestDayInWhoseListingNothingChangedCostsNoCall counts the calls of sweeps over few and over many days.
func TestDayInWhoseListingNothingChangedCostsNoCall(t *testing.T) {
	t.Parallel()
	quiet(t)
	for _, state := range []job.State{job.Succeeded, job.Blocked, job.Held, job.Cancelled} {
		var calls []int
		for _, days := range []int{2, 40} {
			s := newStage(t, 5, emulator.Feed("airports"))
			s.pageSize = 1000
			for _, id := range daysOf("airports", "2012-01-01", days) {
				s.past(t, id, state)
			}
			for range 2 {
				s.port = &port{}
				if _, err := s.intake.Sweep(t.Context(), true); err != nil {
					t.Fatal(err)
				}
			}
			calls = append(calls, s.port.calls)
		}
		if calls[0] != calls[1] {
			t.Errorf("%s: %d calls for 2 days, %d for 40", state, calls[0], calls[1])
		}
	}
}

func TestChangeOfADayThatWasInOrderIsSeen(t *testing.T) {
	t.Parallel()
	quiet(t)
	id := job.ID{Feed: "airports", Day: "2012-01-01"}
	data := id.String() + "/data.csv"
	late := id.String() + "/late.csv"
	file := func(s *stage, key string) job.File {
		_, name, _ := job.ParseKey(key)
		f, _, err := s.ledger.File(t.Context(), job.File{ID: id, Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for name, c := range map[string]struct {
		state  job.State
		before func(s *stage)
		change func(s *stage)
		seen   func(s *stage) bool
	}{
		"a file of an open day is deleted": {job.Blocked, nil, func(s *stage) { delete(s.landed, data) }, func(s *stage) bool { return file(s, data).State == job.Removed }},
		"a file of an open day is written again": {job.Blocked, nil, func(s *stage) { s.put(data) },
			func(s *stage) bool { return file(s, data).VersionID == s.landed[data].VersionID }},
		"a file comes to a closed day": {job.Succeeded, nil, func(s *stage) { s.put(late) },
			func(s *stage) bool { return file(s, late).State == job.Late && len(s.alerts) == 1 }},
		"a late file is deleted": {job.Succeeded, func(s *stage) { s.put(late) }, func(s *stage) { delete(s.landed, late) },
			func(s *stage) bool { return file(s, late).State == job.Removed }},
		"a late file that nobody was told of": {job.Succeeded, func(s *stage) {
			s.put(late)
			f := s.landed[late]
			f.ID, f.Name, f.State, f.Reason = id, "late.csv", job.Late, LateReason
			if _, err := s.ledger.RecordFile(t.Context(), f, job.File{}); err != nil {
				t.Fatal(err)
			}
		}, func(s *stage) { s.now = s.now.Add(time.Hour) }, func(s *stage) bool { return len(s.alerts) == 1 && strings.HasPrefix(s.alerts[0], "file.late") }},
	} {
		s := newStage(t, 5, emulator.Feed("airports"))
		s.past(t, id, c.state)
		if c.before != nil {
			c.before(s)
		}
		sweep := func() {
			for range 2 {
				if _, err := s.intake.Sweep(t.Context(), true); err != nil {
					t.Fatal(err)
				}
			}
		}
		sweep()
		c.change(s)
		sweep()
		if !c.seen(s) {
			t.Errorf("%s: not seen: %+v, alerts %q", name, file(s, late), s.alerts)
		}
	}
}

// TestYearsOfClosedDaysAreSweptWithFewCalls measures how many calls it takes: see bench/backlog.md. It sweeps 300 days, and 30,000 with BACKLOG=1.
func TestYearsOfClosedDaysAreSweptWithFewCalls(t *testing.T) {
	quiet(t)
	days := 60
	if os.Getenv("BACKLOG") != "" {
		days = 6000
	}
	feeds := []string{"a", "b", "c", "d", "e"}
	s := newStage(t, 5, emulator.Feed("a"), emulator.Feed("b"), emulator.Feed("c"), emulator.Feed("d"), emulator.Feed("e"))
	s.pageSize = 1000
	for _, feed := range feeds {
		for _, id := range daysOf(feed, "1990-01-01", days) {
			s.past(t, id, job.Succeeded)
		}
	}
	known, err := s.ledger.Feeds(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	measured := func(what string, scale int, sweep func()) int {
		s.port = &port{}
		began := time.Now()
		sweep()
		calls := s.port.calls * scale
		t.Logf("| %s | %d | %d | %.1f s | %.1f s |", what, days*len(feeds), calls, (time.Duration(calls) * 5 * time.Millisecond).Seconds(), time.Since(began).Seconds()*float64(scale))
		return calls
	}
	const sample = 60
	measured("before: each day is looked at", days/sample, func() {
		for _, feed := range feeds {
			for _, id := range daysOf(feed, "1990-01-01", sample) {
				if _, err := s.intake.takeIn(t.Context(), known, id, []job.File{s.landed[id.String()+"/"+job.Marker], s.landed[id.String()+"/data.csv"]}, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	pass := func() {
		if _, err := s.intake.Sweep(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	first := measured("the first pass after an upgrade", 1, pass)
	next := measured("each pass after it", 1, pass)
	if n := days * len(feeds); first > n/10+60 || next > n/100+60 {
		t.Errorf("%d calls, then %d", first, next)
	}
}
