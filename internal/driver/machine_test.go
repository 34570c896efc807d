package driver

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
)

// steps is how many steps a schedule has.
const steps = 100

// TestNoScheduleBreaksAPromise plays random schedules of deliveries, events, ticks, ends, deaths, lost answers, conflicts of writes, zombies
// and acts of people on the functions, the rules and the ledger, and holds what the outside shows against the model. Whatever happened, in the end
// every day that was delivered is read, once, and BigQuery has the newest revision that readers have.
func TestNoScheduleBreaksAPromise(t *testing.T) {
	t.Parallel()
	quiet(t)
	// rapid's own default is a hundred schedules.
	if flag.Lookup("rapid.checks").Value.String() == "100" {
		if err := flag.Set("rapid.checks", "1000"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = flag.Set("rapid.checks", "100") })
	}
	rapid.Check(t, func(rt *rapid.T) { playSchedule(t, rt) })
}

func playSchedule(t *testing.T, rt *rapid.T) {
	days := []job.Day{"2013-01-01", "2013-01-02", "2013-01-03"}
	feeds := []string{"airports", "planes", "flights", "delays"}
	s := newStage(t, rapid.IntRange(1, 3).Draw(rt, "parallel"),
		emulator.Feed("airports"), emulator.Feed("planes"), emulator.Feed("flights", "airports", "planes"), emulator.Feed("delays", "flights"))
	any := func() job.ID {
		return job.ID{Feed: rapid.SampledFrom(feeds).Draw(rt, "feed"), Day: rapid.SampledFrom(days).Draw(rt, "day")}
	}
	touched := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "conflicts"), 0)) //nolint:gosec // played again from its seed
	s.conflict = func() bool { return touched.IntN(8) == 0 }
	var told []string
	for range steps {
		s.port = &port{}
		if rapid.IntRange(0, 4).Draw(rt, "mishap?") == 0 {
			s.port.at = rapid.IntRange(1, 40).Draw(rt, "call")
			s.port.how = rapid.SampledFrom([]mishap{diesBefore, diesAfter, loses}).Draw(rt, "mishap")
		}
		runs := s.sorted()
		pick := func() *played {
			if len(runs) == 0 {
				return nil
			}
			return rapid.SampledFrom(runs).Draw(rt, "run")
		}
		switch rapid.SampledFrom([]string{"deliver", "part", "take back", "event", "sweep", "start", "start", "progress", "progress", "progress", "fail", "vanish", "ended", "export", "bigquery", "time", "act", "misname", "takeAway"}).Draw(rt, "step") {
		case "deliver":
			id := any()
			if s.model.wanted[id] > 0 && s.model.closed(id) && !s.model.gone[id] {
				continue // a closed day's late files have tests of their own
			}
			if rapid.IntRange(0, 5).Draw(rt, "misnamed?") == 0 {
				told = append(told, s.misname(id))
			}
			told = append(told, s.deliver(id)...)
		case "misname": // an object that cannot be read comes, before, with or after the others
			told = append(told, s.misname(any()))
		case "takeAway":
			s.takeAway(any())
		case "part": // an upload that is interrupted before its marker
			id := any()
			if _, there := s.landed[id.String()+"/data.csv"]; s.model.gone[id] || !there {
				s.put(id.String() + "/data.csv")
			}
		case "take back": // also what has no job yet
			s.person(any(), rapid.SampledFrom([]job.Verb{job.Retract, job.Retract, job.Cancel}).Draw(rt, "verb"))
		case "event": // any of them, again, in any order
			if len(told) > 0 {
				s.receive(rapid.SampledFrom(told).Draw(rt, "event"))
			}
		case "sweep":
			s.sweep()
		case "start":
			s.start()
		case "progress":
			if p := pick(); p != nil {
				s.progress(p)
			}
		case "fail": // the step fails, and its process is gone
			if p := pick(); p != nil && p.status.State == engine.Active {
				p.dead = true
				s.over(p, engine.Failed, "no memory")
			}
		case "vanish": // the cluster is lost to its engine, but the process lives on and may publish late
			if p := pick(); p != nil && p.status.State == engine.Active {
				s.over(p, engine.Failed, "the cluster ended")
			}
		case "ended":
			if p := pick(); p != nil && p.status.State != engine.Active {
				s.end(p)
			}
		case "export": // announced, again, in any order
			if len(s.announced) > 0 {
				s.slow = rapid.Bool().Draw(rt, "slow")
				s.export(rapid.SampledFrom(s.announced).Draw(rt, "export"))
				s.slow = false
			}
		case "bigquery": // a load that nobody waits for any more comes to its end
			if len(s.loads) > 0 {
				s.bigQuery(rapid.SampledFrom(slices.Sorted(maps.Keys(s.loads))).Draw(rt, "load"))
			}
		case "time":
			s.now = s.now.Add(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 24 * time.Hour, -time.Minute}).Draw(rt, "time"))
		case "act":
			id := any()
			for range rapid.IntRange(1, 3).Draw(rt, "acts") {
				verb := rapid.SampledFrom([]job.Verb{job.Hold, job.Release, job.Cancel, job.Redrive, job.Restate}).Draw(rt, "verb")
				s.itself(func() {
					if is, err := s.operator.Do(context.Background(), id, verb, "because"); err == nil {
						s.wants(is)
					}
				})
			}
		}
		if len(s.model.faults) > 0 {
			rt.Fatalf("%s", strings.Join(s.model.faults, "\n"))
		}
	}
	for _, feed := range feeds { // what others wait for comes at last
		for _, day := range days {
			if id := (job.ID{Feed: feed, Day: day}); s.model.wanted[id] == 0 || s.incomplete(id) || s.model.gone[id] && feed != "delays" {
				s.deliver(id)
			}
		}
	}
	s.settled(rt)
}

// incomplete reports whether a day has files, and not its marker.
func (s *stage) incomplete(id job.ID) bool {
	_, data := s.landed[id.String()+"/data.csv"]
	_, marked := s.landed[id.String()+"/_COMPLETE"]
	return data && !marked
}

// settled brings everything to its end and checks it.
func (s *stage) settled(t interface{ Fatalf(string, ...any) }) {
	s.rest()
	b, err := s.ledger.Board(context.Background())
	if err != nil {
		t.Fatalf("%v", err)
	}
	var outbox []job.Notice
	for n, err := range s.ledger.Outbox(context.Background()) {
		if err != nil {
			t.Fatalf("%v", err)
		}
		outbox = append(outbox, n)
	}
	jobs, err := s.ledger.List(context.Background())
	if err != nil {
		t.Fatalf("%v", err)
	}
	var left []string // left are the files of which nobody will say any more what became of them
	for _, j := range jobs {
		files, err := s.ledger.Files(context.Background(), j.ID)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for _, f := range files {
			if j.Done() && f.State == job.Landed && !j.Void(f) {
				left = append(left, f.Key)
			}
		}
	}
	last := map[string]job.Day{} // last are the days that feeds are to have as their last ones
	for _, j := range jobs {
		if j.Readable() {
			last[j.Feed] = max(last[j.Feed], j.Day)
		}
	}
	for feed := range b.Feeds {
		if b.LastDay[feed] != last[feed] {
			s.model.wrong("the last day of %s is %q, not %q", feed, b.LastDay[feed], last[feed])
		}
	}
	if missing := s.model.missing(); len(s.model.faults)+len(missing)+len(b.Slots)+len(outbox)+len(left) > 0 {
		var states []string
		for _, j := range jobs {
			states = append(states, fmt.Sprintf("%s %s r%d #%d commit %+v: %s", j.ID, j.State, j.Revision, j.Token, j.Commit, j.Reason))
		}
		t.Fatalf("faults %v\nmissing %v\nslots %v\noutbox %+v\nfiles %q\n%s", s.model.faults, missing, b.Slots, outbox, left, strings.Join(states, "\n"))
	}
}

// ends is what there is at last of jobs, files, last days and tickets. Revisions are held against what people got through: a restatement that comes
// before the day was closed is refused, and how many runs it took is nobody's business.
func (s *stage) ends(t *testing.T) (all []string) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	jobs, err := s.ledger.List(t.Context())
	must(err)
	for _, j := range jobs {
		all = append(all, fmt.Sprintf("%s %s, as wanted %v, published %v, exported %v, %q %q %v", j.ID, j.State, j.Revision == s.model.wanted[j.ID], j.Published(),
			j.Exported != nil, j.Reason, j.Cancel, j.RetryAt.IsZero()))
		files, err := s.ledger.Files(t.Context(), j.ID)
		must(err)
		for _, f := range files {
			all = append(all, fmt.Sprintf("%s %s of version %s: %q", f.Key, f.State, f.VersionID, f.Reason))
		}
		last, err := s.ledger.LastDay(t.Context(), j.ID.Feed)
		must(err)
		all = append(all, fmt.Sprintf("%s last did %s", j.ID.Feed, last))
	}
	rejected, err := s.ledger.Rejected(t.Context())
	must(err)
	for _, f := range rejected {
		all = append(all, fmt.Sprintf("%s is rejected: %s", f.Key, f.Reason))
	}
	return append(all, fmt.Sprintf("%d tickets", len(s.queue)))
}

// TestSoak plays schedules for as long as SOAK says, for example 10m, and prints how many and how many broke a promise.
func TestSoak(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("SOAK"))
	if err != nil {
		limit = time.Second // a taste of it, so that it is known to work
	}
	quiet(t)
	checks := flag.Lookup("rapid.checks").Value.String()
	if err := flag.Set("rapid.checks", "20"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("rapid.checks", checks) })
	until, schedules := time.Now().Add(limit), 0
	for seed := 0; time.Now().Before(until); seed++ {
		chosen := fmt.Sprint(time.Now().UnixNano()%1e9 + int64(seed))
		if err := flag.Set("rapid.seed", chosen); err != nil {
			t.Fatal(err)
		}
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) { playSchedule(t, rt); schedules++ })
		})
		if !ok {
			fmt.Printf("%d schedules of %d steps, 1 violation; to play it again: go test -run TestNoScheduleBreaksAPromise ./internal/driver -rapid.seed=%s\n", schedules, steps, chosen)
			return
		}
	}
	_ = flag.Set("rapid.seed", "0")
	fmt.Printf("%d schedules of %d steps, 0 violations\n", schedules, steps)
}

// scenario is a day of two feeds with a failure, a late file and a restatement; it makes every kind of call there is.
func scenario(s *stage) {
	airports, flights := job.ID{Feed: "airports", Day: "2013-01-01"}, job.ID{Feed: "flights", Day: "2013-01-01"}
	works := func() {
		s.start()
		for _, p := range s.sorted() {
			for range 3 {
				s.progress(p)
			}
		}
		for _, p := range s.sorted() {
			s.end(p)
		}
	}
	s.put("README.txt")
	s.receive("README.txt")
	s.receive(s.deliver(flights)...)
	s.receive(s.deliver(airports)...)
	s.start()
	for _, p := range s.sorted() {
		p.dead = true
		s.overIfActive(p, engine.Failed, "no memory")
		s.end(p)
	}
	s.now = s.now.Add(time.Minute)
	s.sweep()
	works()
	works()
	s.put(airports.String() + "/late.csv")
	s.receive(airports.String() + "/late.csv")
	s.itself(func() {
		if is, err := s.operator.Do(context.Background(), airports, job.Restate, "late file"); err == nil {
			s.wants(is)
		}
	})
	s.sweep()
	works()
	s.sweep()
}

// TestDeathAroundEveryCallEndsAsTheUndisturbedRun counts the calls of a scenario and plays it again for each, with the function dying
// before it, after it, and with its answer lost.
func TestDeathAroundEveryCallEndsAsTheUndisturbedRun(t *testing.T) {
	t.Parallel()
	quiet(t)
	play := func(at int, how mishap) (*stage, int) {
		s := newStage(t, 5, emulator.Feed("airports"), emulator.Feed("flights", "airports"))
		s.port = &port{at: at, how: how}
		scenario(s)
		calls := s.port.calls
		s.settled(t)
		return s, calls
	}
	calm, calls := play(0, "")
	if calls < 200 {
		t.Fatalf("the scenario makes %d calls only", calls)
	}
	told := func(s *stage) []string {
		all := slices.Clone(s.alerts)
		slices.Sort(all)
		return all
	}
	want := slices.Compact(told(calm))
	if len(want) != len(calm.alerts) {
		t.Errorf("undisturbed, a fault was told twice: %q", calm.alerts)
	}
	if want := []string{"file.late airports/2013-01-01#0 airports/2013-01-01/late.csv", "file.rejected /#0 README.txt", "job.retry airports/2013-01-01#1 "}; !slices.Equal(told(calm), want) {
		t.Errorf("alerts: %q", calm.alerts)
	}
	end := calm.ends(t)
	for at := 1; at <= calls; at++ {
		for _, how := range []mishap{diesBefore, diesAfter, loses} {
			s, _ := play(at, how)
			if got := s.ends(t); !slices.Equal(got, end) {
				t.Errorf("%s call %d ends as\n%s\nnot as\n%s", how, at, strings.Join(got, "\n"), strings.Join(end, "\n"))
			}
			for id, revision := range calm.model.wanted {
				if s.model.wanted[id] > revision && s.model.readable[id][s.model.wanted[id]] == 0 {
					t.Errorf("%s call %d: %s", how, at, id)
				}
			}
			got := slices.Compact(told(s))
			for _, alert := range want {
				if !strings.HasPrefix(alert, "job.retry") && !strings.HasPrefix(alert, "file.late") && !slices.Contains(got, alert) {
					t.Errorf("%s call %d: nobody was told of %s", how, at, alert)
				}
			}
		}
	}
	t.Logf("%d calls, %d plays", calls, 3*calls)
}

// TestDeathAroundEveryCallClosesNoDayOfWhichAFileCannotBeRead plays a day with a file that cannot be read, with the function dying around each call,
// and its answer lost: no run starts while the file is there, the day goes on by itself when it is gone, and people are told of it.
func TestDeathAroundEveryCallClosesNoDayOfWhichAFileCannotBeRead(t *testing.T) {
	t.Parallel()
	quiet(t)
	play := func(at int, how mishap) int {
		s := newStage(t, 5, emulator.Feed("airports"))
		s.port = &port{at: at, how: how}
		bad := s.misname(airports)
		keys := s.deliver(airports)
		s.receive(append(keys, bad)...)
		s.start()
		s.sweep()
		s.start()
		s.receive(keys...)
		s.now = s.now.Add(10 * time.Minute) // whoever began to tell of the file is not at it any more
		s.sweep()
		s.start()
		if len(s.runs) > 0 {
			t.Errorf("%s call %d: a run started", how, at)
		}
		s.takeAway(airports)
		s.sweep()
		s.start()
		calls := s.port.calls
		s.port = &port{}
		s.sweep()
		s.start()
		if j := s.job(airports); j.State != job.Running {
			t.Errorf("%s call %d: the file is gone, and the job is %s: %s", how, at, j.State, j.Reason)
		}
		s.settled(t)
		if !slices.Contains(s.alerts, "file.rejected airports/2013-01-01#0 "+bad) {
			t.Errorf("%s call %d: nobody was told: %q", how, at, s.alerts)
		}
		return calls
	}
	calls := play(0, "")
	if calls < 50 {
		t.Fatalf("the scenario makes %d calls only", calls)
	}
	for at := 1; at <= calls; at++ {
		for _, how := range []mishap{diesBefore, diesAfter, loses} {
			play(at, how)
		}
	}
}

// TestWhateverTheOrderOfCallsNothingBeginsOnWhatIsSwitchedOffUnseen switches an engine off before each call of start-jobs in turn, as people do:
// first the switch, then a look for jobs that run. With start-jobs dying around any later call, too: a run that the look did not see
// never begins, none holds a slot for nothing, and the job has all of its attempts left.
func TestWhateverTheOrderOfCallsNothingBeginsOnWhatIsSwitchedOffUnseen(t *testing.T) {
	t.Parallel()
	quiet(t)
	play := func(at, dies int, how mishap) (calls int) {
		s := newStage(t, 5, emulator.Feed("airports"), emulator.Feed("flights", "airports"))
		off := &playedSwitch{}
		s.starter.Switch = off
		s.receive(s.deliver(airports)...)
		switched, seen := false, false
		s.port = &port{at: dies, how: how}
		s.port.busy = func() bool {
			if s.port.calls == at {
				switched = true
				off.reasons = map[string]string{"emr": "emr is switched off"}
				seen = s.peek(airports).State == job.Running
			}
			return false
		}
		s.start()
		calls = s.port.calls
		s.port = &port{}
		for range 3 { // the next ticks
			s.start()
			s.sweep()
		}
		if switched {
			switch j := s.job(airports); {
			case !seen && len(s.runs) > 0:
				t.Errorf("off before call %d, %s call %d: a run begins that nobody saw", at, how, dies)
			case j.State == job.Running && len(s.runs) == 0:
				t.Errorf("off before call %d, %s call %d: a run that does not begin keeps its slot", at, how, dies)
			case j.State != job.Running && j.Reason != "emr is switched off":
				t.Errorf("off before call %d, %s call %d: the job is %s: %q", at, how, dies, j.State, j.Reason)
			}
		}
		off.reasons = nil
		s.settled(t)
		if j := s.job(airports); j.State != job.Succeeded || j.Attempts() != 1 {
			t.Errorf("off before call %d, %s call %d: the job is %s after %d attempts", at, how, dies, j.State, j.Attempts())
		}
		return calls
	}
	calls := play(0, 0, "")
	if calls < 10 {
		t.Fatalf("start-jobs makes %d calls only", calls)
	}
	for at := 1; at <= calls; at++ {
		play(at, 0, "")
		for dies := at; dies <= calls; dies++ {
			for _, how := range []mishap{diesBefore, diesAfter, loses} {
				play(at, dies, how)
			}
		}
	}
}
