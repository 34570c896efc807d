package driver

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// rejected are the keys that the ledger has as rejected.
func (s *stage) rejected(t *testing.T) (keys []string) {
	t.Helper()
	files, err := s.ledger.Rejected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		keys = append(keys, f.Key+": "+f.Reason)
	}
	return keys
}

// stands checks a job's state.
func (s *stage) stands(t *testing.T, id job.ID, state job.State) {
	t.Helper()
	if j := s.job(id); j.State != state {
		t.Errorf("%s is %q (%s), not %q", id, j.State, j.Reason, state)
	}
}

// deliverTo is a delivery that the model is not to expect anything of.
func (s *stage) deliverTo(id job.ID) []string {
	keys := []string{id.String() + "/data.csv", id.String() + "/_COMPLETE"}
	for _, k := range keys {
		s.put(k)
	}
	return keys
}

func TestDayInTheFutureIsRefusedAndClosesNothing(t *testing.T) {
	for _, how := range []string{"event", "sweep"} {
		s := twoFeeds(t)
		mistyped := job.ID{Feed: "airports", Day: "2099-01-01"}
		keys := s.deliverTo(mistyped)
		if how == "event" {
			s.receive(keys...)
		}
		s.sweep()
		s.sweep()
		s.stands(t, mistyped, "")
		const why = ": day 2099-01-01 is in the future: the latest day that is accepted now is 2013-01-06, which is tomorrow in UTC; put the object under the day that it is of"
		slices.Sort(keys)
		if want := []string{keys[0] + why, keys[1] + why}; !slices.Equal(s.rejected(t), want) {
			t.Errorf("%s: rejected are %q", how, s.rejected(t))
		}
		if n := strings.Count(strings.Join(s.alerts, "\n"), "file.rejected"); n != 1 {
			t.Errorf("%s: %d alerts: %q", how, n, s.alerts)
		}
		s.receive(s.deliver(airports)...)
		s.settled(t)
		s.stands(t, airports, job.Succeeded)
	}
}

func TestDayThatWasRejectedIsTakenInWhenItHasCome(t *testing.T) {
	s := twoFeeds(t)
	early := job.ID{Feed: "airports", Day: "2013-01-08"}
	s.receive(s.deliver(early)...) // it is the fifth
	s.stands(t, early, "")
	s.now = s.now.Add(36 * time.Hour) // the seventh, at midnight: the eighth is tomorrow
	s.sweep()
	s.stands(t, early, job.Ready)
	if left := s.rejected(t); len(left) != 0 {
		t.Errorf("rejected are still %q", left)
	}
	s.settled(t)
	s.stands(t, early, job.Succeeded)
}

func TestDayBeforeAllPartitionsKeepsNoOtherBack(t *testing.T) {
	s := twoFeeds(t)
	s.put("airports/1900-01-01/data.csv")
	s.receive("airports/1900-01-01/data.csv")
	s.receive(s.deliver(airports)...)
	s.stands(t, airports, job.Ready)
}

// lastDay checks the last day of airports.
func (s *stage) lastDay(t *testing.T, want job.Day) {
	t.Helper()
	if got, err := s.ledger.LastDay(t.Context(), "airports"); err != nil || got != want {
		t.Errorf("the last day is %q, %v, not %q", got, err, want)
	}
}

// done brings a day of airports to its end.
func (s *stage) done(t *testing.T, id job.ID) {
	t.Helper()
	s.receive(s.deliver(id)...)
	s.goOn()
	s.stands(t, id, job.Succeeded)
}

// goOn has what can start run and publish.
func (s *stage) goOn() {
	s.start()
	for _, p := range s.sorted() {
		s.publishes(p)
	}
	for _, id := range s.announced {
		s.export(id)
	}
}

func TestRetractedLastDayLetsHeldDaysGoOn(t *testing.T) {
	s := twoFeeds(t)
	s.done(t, airports)
	mistyped := job.ID{Feed: "airports", Day: "2099-01-01"} // an older version took it in
	if _, err := s.ledger.Create(t.Context(), mistyped, amount(nil), job.Unread{}, s.now); err != nil {
		t.Fatal(err)
	}
	s.deliver(mistyped)
	if _, err := s.intake.Day(t.Context(), mistyped); err != nil {
		t.Fatal(err)
	}
	s.sweep()
	s.goOn()
	s.lastDay(t, "2099-01-01")
	s.receive(s.deliver(airports2)...)
	s.sweep()
	s.stands(t, airports2, job.Held)

	s.acts(t, mistyped)(job.Retract)
	s.sweep()
	s.stands(t, mistyped, job.Ready)
	s.goOn()
	s.stands(t, mistyped, job.Cancelled)
	if j := s.job(mistyped); !j.TakenBack() || j.Reason != "retract by ann: because" || j.Exported == nil || *j.Exported != 0 {
		t.Errorf("the retracted day: %+v", j)
	}
	s.lastDay(t, "2013-01-01")
	s.sweep()
	s.goOn()
	s.stands(t, airports2, job.Succeeded)
	s.lastDay(t, "2013-01-02")
	s.sweep() // what is left in the landing bucket opens nothing
	s.stands(t, mistyped, job.Cancelled)
	s.settled(t)
}

func TestRetractedDayOpensWithTheNewFilesOnly(t *testing.T) {
	s := twoFeeds(t)
	s.put(airports.String() + "/old.csv")
	s.done(t, airports)
	s.acts(t, airports)(job.Retract)
	s.sweep()
	s.goOn()
	s.lastDay(t, "")
	s.put(airports.String() + "/data.csv") // without its marker
	s.receive(airports.String() + "/data.csv")
	s.stands(t, airports, job.Cancelled)
	s.receive(s.deliver(airports)...)
	s.stands(t, airports, job.Ready)
	s.start()
	var o Order
	if err := s.ReadJSON(t.Context(), orderKey(airports, s.job(airports).Token), &o); err != nil {
		t.Fatal(err)
	}
	if len(o.Files) != 1 || o.Files[0].Key != airports.String()+"/data.csv" || o.Revision != 3 || o.Retract {
		t.Errorf("the order is %+v", o)
	}
	s.settled(t)
	s.lastDay(t, "2013-01-01")
}

func TestFilesThatComeWhileADayIsRetractedOpenItAfterwards(t *testing.T) {
	s := twoFeeds(t)
	s.done(t, airports)
	s.acts(t, airports)(job.Retract)
	s.sweep()
	s.start()
	s.receive(s.deliver(airports)...) // its run empties the tables just now
	for _, p := range s.sorted() {
		s.publishes(p) // finish-job looks at the day once more
	}
	s.stands(t, airports, job.Waiting)
	s.settled(t)
	if j := s.job(airports); j.State != job.Succeeded || j.Revision != 3 {
		t.Errorf("it is %s, revision %d", j.State, j.Revision)
	}
}

func TestDayOfWhichNothingWasPublishedIsRetractedAtOnce(t *testing.T) {
	for _, how := range []string{"ready", "failed", "no job"} {
		s := twoFeeds(t)
		switch how {
		case "ready":
			s.receive(s.deliver(airports)...)
		case "failed":
			p := s.running(t, airports)
			p.dead = true
			s.objects[resultKey(airports, 1)] = []byte(`{"error": "bad", "kind": "input"}`)
			s.over(p, "failed", "")
			s.end(p)
			s.stands(t, airports, job.Failed)
		case "no job":
			s.put(airports.String() + "/data.csv")
		}
		s.receive(s.deliver(airports2)...)
		s.person(airports, job.Retract)
		s.stands(t, airports, job.Cancelled)
		runs := len(s.runs)
		s.sweep()
		s.stands(t, airports2, job.Ready)
		s.start()
		if len(s.runs) != runs+1 {
			t.Errorf("%s: %d runs", how, len(s.runs))
		}
		s.receive(airports.String() + "/data.csv")
		s.stands(t, airports, job.Cancelled)
	}
}

func TestDayThatWillNeverBeCompleteIsGivenUp(t *testing.T) {
	s := twoFeeds(t)
	s.put(airports.String() + "/data.csv") // an upload that broke
	s.receive(s.deliver(airports2)...)
	s.stands(t, airports2, job.Waiting)
	s.now = s.now.Add(48 * time.Hour)
	s.sweep()
	if j := s.job(airports2); j.State != job.Blocked || j.Reason != "airports 2013-01-01 has files but is not complete: complete it, or give it up with sluice cancel airports/2013-01-01" {
		t.Errorf("the day after it is %s: %s", j.State, j.Reason)
	}
	s.acts(t, airports)(job.Cancel)
	if j := s.job(airports); j.State != job.Cancelled || j.Reason != "cancel by ann: because" || len(j.Acts) != 1 || j.Sizing.Files != 1 {
		t.Errorf("given up it is %+v", j)
	}
	s.sweep()
	s.goOn()
	s.stands(t, airports2, job.Succeeded)

	refused := func(id job.ID, verb job.Verb, want string) {
		t.Helper()
		if _, err := s.operator.Do(t.Context(), id, verb, "because"); err == nil || err.Error() != want {
			t.Errorf("%s of %s: %v", verb, id, err)
		}
	}
	refused(airports, job.Restate, "job airports/2013-01-01 was given up before its day was complete, and the marker _COMPLETE is missing: put what it lacks first")
	s.put(airports.String() + "/_COMPLETE") // it comes after all, and waits for a decision, as it is earlier than the last day
	s.sweep()
	s.stands(t, airports, job.Cancelled)
	s.acts(t, airports)(job.Restate)
	s.model.delivered(airports)
	s.settled(t)
	s.stands(t, airports, job.Succeeded)

	refused(job.ID{Feed: "airports", Day: "2013-01-03"}, job.Cancel, "day airports/2013-01-03 has neither a job nor files in the landing bucket: nothing waits for it")
	refused(job.ID{Feed: "airports", Day: "2013-01-03"}, job.Retract, "day airports/2013-01-03 has neither a job nor files in the landing bucket: nothing waits for it")
}

func TestDayThatIsCompleteAfterAllIsCancelledLikeAnyOther(t *testing.T) {
	s := twoFeeds(t)
	s.deliver(airports) // no event came
	s.acts(t, airports)(job.Cancel)
	if j := s.job(airports); j.State != job.Cancelled || len(j.Acts) != 1 {
		t.Errorf("it is %+v", j)
	}
	s.acts(t, airports)(job.Redrive)
	s.settled(t)
}

// TestDeathAroundEveryCallOfARetractionEndsAsTheUndisturbedOne plays the retraction of a feed's last day and its new delivery, the command among it,
// with the process that makes a call dying before it, after it, and with its answer lost.
func TestDeathAroundEveryCallOfARetractionEndsAsTheUndisturbedOne(t *testing.T) {
	t.Parallel()
	play := func(at int, how mishap) ([]string, int) {
		s := twoFeeds(t)
		s.done(t, airports)
		s.done(t, airports2)
		s.port = &port{at: at, how: how}
		s.person(airports2, job.Retract)
		if !s.job(airports2).Retract {
			s.person(airports2, job.Retract) // who was not answered does it again
		}
		s.sweep()
		s.start()
		if p := s.runs[airports2.String()+"#2"]; p != nil {
			s.publishes(p)
		}
		s.receive(s.deliver(airports2)...)
		s.sweep()
		calls := s.port.calls
		s.settled(t)
		return s.ends(t), calls
	}
	want, calls := play(0, "")
	if calls < 60 {
		t.Fatalf("a retraction makes %d calls only", calls)
	}
	for at := 1; at <= calls; at++ {
		for _, how := range []mishap{diesBefore, diesAfter, loses} {
			if got, _ := play(at, how); !slices.Equal(got, want) {
				t.Errorf("%s call %d ends as\n%s\nnot as\n%s", how, at, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

func TestDayThatGetsAJobMeanwhileIsNotGivenUpUnseen(t *testing.T) {
	s := twoFeeds(t)
	s.put(airports.String() + "/data.csv")
	if _, err := s.intake.Day(t.Context(), airports); err != nil {
		t.Fatal(err)
	}
	j, err := job.GivenUp(airports, job.Act{Verb: job.Cancel, By: "ann", At: s.now})
	if err != nil {
		t.Fatal(err)
	}
	s.receive(s.deliver(airports)...) // the marker comes just now
	if err := s.ledger.GiveUp(t.Context(), j, amount(nil)); !errors.Is(err, ledger.ErrChanged) {
		t.Errorf("it is given up: %v", err)
	}
	s.stands(t, airports, job.Ready)
}

func TestHeldDayGoesOnWithItsPrerequisitesOnTheBoard(t *testing.T) {
	s := twoFeeds(t)
	late, wrong := job.ID{Feed: "flights", Day: "2013-01-02"}, job.ID{Feed: "flights", Day: "2013-01-04"}
	for _, day := range []job.Day{late.Day, wrong.Day} {
		s.done(t, job.ID{Feed: "airports", Day: day}) // the first of them is before the feed's last day then
	}
	s.done(t, wrong)
	s.receive(s.deliver(late)...)
	s.stands(t, late, job.Held)
	s.acts(t, wrong)(job.Retract)
	s.sweep()
	s.start()
	for _, p := range s.sorted() {
		s.publishes(p) // and finish-job plans anew
	}
	s.stands(t, late, job.Ready)
	s.settled(t)
}
