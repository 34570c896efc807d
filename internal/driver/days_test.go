package driver

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
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
