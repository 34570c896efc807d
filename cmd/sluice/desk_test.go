package main

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/driver"
	"github.com/sluice-data/sluice/internal/emulator"
	jobs "github.com/sluice-data/sluice/internal/job"
	ledgers "github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/sizing"
)

// playedCountry is what a desk works with: the ledger on a database in memory; landing bucket, queue, topics and switch played.
type playedCountry struct {
	*testing.T
	countryDesk
	db     *emulator.Memory
	tables discovery.Tables
	keys   []string          // keys are what is in the landing bucket.
	queued []string          // queued are the jobs whose tickets were sent.
	off    map[string]string // off are the engines that are switched off.
}

var (
	airports = jobs.ID{Feed: "airports", Day: "2013-01-01"}
	flights  = jobs.ID{Feed: "flights", Day: "2013-01-01"} // needs airports
)

// openCountry is a country with the feeds airports and flights, both complete by marker.
func openCountry(t *testing.T) *playedCountry {
	c := &playedCountry{T: t, db: emulator.NewMemory(), off: map[string]string{}}
	c.tables = emulator.Tables(t, c.db, "desk", emulator.Feed("airports"), emulator.Feed("flights", "airports"))
	c.ledger = ledgers.New(c.db, c.tables)
	c.intake = driver.Intake{Ledger: c.ledger, Landing: c, Zone: time.UTC, Now: time.Now}
	c.promoter = driver.Promoter{Ledger: c.ledger, Landing: c, Tickets: c, Topics: c, Zone: time.UTC, Parallel: 5, Now: time.Now}
	c.countryDesk.off = c
	return c
}

func (c *playedCountry) List(_ context.Context, prefix, after string) ([]jobs.File, error) {
	var found []jobs.File
	for _, key := range c.keys {
		if strings.HasPrefix(key, prefix) && key > after {
			found = append(found, jobs.File{Key: key, LandedAt: time.Now()})
		}
	}
	return found, nil
}

func (c *playedCountry) Page(ctx context.Context, prefix, after string) ([]jobs.File, string, error) {
	all, err := c.List(ctx, prefix, after)
	return all, "", err
}

func (c *playedCountry) Send(_ context.Context, id jobs.ID) error {
	c.queued = append(c.queued, id.String())
	return nil
}

func (c *playedCountry) Announce(context.Context, jobs.NoticeType, jobs.ID, int64) error { return nil }

func (c *playedCountry) Off(context.Context) (map[string]string, error) { return c.off, nil }

// create makes the job of a day that is complete.
func (c *playedCountry) create(id jobs.ID) {
	c.Helper()
	if made, err := c.ledger.Create(c.Context(), id, sizing.Decision{}, jobs.Unread{}, time.Now()); err != nil || !made {
		c.Fatalf("%s: created %v, %v", id, made, err)
	}
}

// become puts a job in a state that it needed runs for.
func (c *playedCountry) become(id jobs.ID, state jobs.State, more map[string]string) {
	c.Helper()
	values := map[string]types.AttributeValue{"state": &types.AttributeValueMemberS{Value: string(state)}, "token": &types.AttributeValueMemberN{Value: "1"}}
	for name, text := range more {
		values[name] = &types.AttributeValueMemberS{Value: text}
	}
	emulator.Set(c.T, c.db, c.tables.Jobs,
		map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: id.Feed}, "day": &types.AttributeValueMemberS{Value: string(id.Day)}}, values)
}

// explained are the kinds and texts of the reasons that the desk gives.
func (c *playedCountry) explained(id jobs.ID) (jobs.State, map[jobs.WhyKind]string) {
	c.Helper()
	state, why, err := c.Explain(c.Context(), id)
	if err != nil {
		c.Fatalf("explain %s: %v", id, err)
	}
	texts := map[jobs.WhyKind]string{}
	for _, w := range why {
		texts[w.Kind] = w.Text
	}
	return state, texts
}

func TestDeskKeepsWhoDidWhatAndWhy(t *testing.T) {
	c := openCountry(t)
	c.create(airports)
	j, err := c.Do(t.Context(), airports, jobs.Hold, "ann", "until monday")
	if err != nil || j.State != jobs.Held {
		t.Fatalf("hold: %+v, %v", j, err)
	}
	kept, err := c.ledger.Get(t.Context(), airports)
	if err != nil || len(kept.Acts) != 1 || time.Since(kept.Acts[0].At) > time.Hour {
		t.Fatalf("kept: %+v, %v", kept.Acts, err)
	}
	kept.Acts[0].At = time.Time{}
	if want := []jobs.Act{{Verb: jobs.Hold, By: "ann", Reason: "until monday"}}; !reflect.DeepEqual(kept.Acts, want) {
		t.Errorf("kept: %+v", kept.Acts)
	}
	var refused jobs.Refused
	if _, err := c.Do(t.Context(), airports, jobs.Restate, "ann", "why"); !errors.As(err, &refused) {
		t.Errorf("restate of a held job: %v", err)
	}
	if _, err := c.Do(t.Context(), flights, jobs.Hold, "ann", "why"); !errors.Is(err, ledgers.ErrNoJob) {
		t.Errorf("hold without a job: %v", err)
	}
}

func TestDeskBackfillsWhatItRehearsed(t *testing.T) {
	c := openCountry(t)
	c.create(airports)
	c.become(airports, jobs.Dead, nil)
	want := []driver.Filled{{Day: "2012-12-31", Why: "no complete day was delivered"}, {Day: "2013-01-01", Verb: jobs.Redrive}}
	would, err := c.Rehearse(t.Context(), "airports", "2012-12-31", "2013-01-01")
	if err != nil || !reflect.DeepEqual(would, want) {
		t.Errorf("rehearsed %+v, %v", would, err)
	}
	if state, _ := c.explained(airports); state != jobs.Dead {
		t.Errorf("the rehearsal left the job %s", state)
	}
	did, err := c.Backfill(t.Context(), "airports", "2012-12-31", "2013-01-01", "ann", "mended")
	if err != nil || !reflect.DeepEqual(did, want) {
		t.Errorf("did %+v, %v", did, err)
	}
	if state, _ := c.explained(airports); state != jobs.Waiting {
		t.Errorf("the backfill left the job %s", state)
	}
}

func TestDeskExplainsADayWithoutAJob(t *testing.T) {
	for text, keys := range map[string][]string{
		"the day is not complete: no file is there":                nil,
		"the day is not complete: the marker _COMPLETE is missing": {"airports/2013-01-01/a.csv", "airports/2013-01-02/_COMPLETE"},
		"the day is complete, and its job not yet there":           {"airports/2013-01-01/a.csv", "airports/2013-01-01/_COMPLETE"},
	} {
		c := openCountry(t)
		c.keys = keys
		state, why := c.explained(airports)
		if want := map[jobs.WhyKind]string{jobs.WhyNoDay: text}; state != "" || !maps.Equal(why, want) {
			t.Errorf("state %q, %q; want %q", state, why, want)
		}
	}
}

func TestDeskExplainsByBoardAndSwitch(t *testing.T) {
	c := openCountry(t)
	c.create(airports)
	c.create(flights)
	if err := c.Wake(t.Context(), jobs.Job{}); err != nil {
		t.Fatal(err)
	}
	c.off["emr"] = "emr is switched off"
	for id, want := range map[jobs.ID]map[jobs.WhyKind]string{
		airports: {jobs.WhySwitch: "emr is switched off"},
		flights:  {jobs.WhyPrerequisite: "waits for airports", jobs.WhySwitch: "emr is switched off"},
	} {
		if _, why := c.explained(id); !maps.Equal(why, want) {
			t.Errorf("%s: %q, want %q", id, why, want)
		}
	}
}

func TestDeskExplainsAJobThatEndedLongAgo(t *testing.T) {
	c := openCountry(t)
	c.create(airports)
	if _, err := c.Do(t.Context(), airports, jobs.Cancel, "ann", ""); err != nil {
		t.Fatal(err)
	}
	emulator.Set(t, c.db, c.tables.Progress, map[string]types.AttributeValue{"name": &types.AttributeValueMemberS{Value: "airports"}},
		map[string]types.AttributeValue{"lastDay": &types.AttributeValueMemberS{Value: "2013-01-03"}}) // no board has earlier days that ended
	state, why := c.explained(airports)
	if want := map[jobs.WhyKind]string{jobs.WhyEnded: "cancel by ann"}; state != jobs.Cancelled || !maps.Equal(why, want) {
		t.Errorf("%s: %q", state, why)
	}
	c.become(airports, jobs.Succeeded, map[string]string{"commitState": "committed"})
	state, why = c.explained(airports)
	if want := map[jobs.WhyKind]string{jobs.WhyClosedDay: "the day is closed: it succeeded in run 1"}; state != jobs.Succeeded || !maps.Equal(why, want) {
		t.Errorf("%s: %q", state, why)
	}
}

func TestWakeQueuesWhatNothingIsInTheWayOf(t *testing.T) {
	c := openCountry(t)
	c.create(airports)
	c.create(flights)
	for range 2 { // the second time there is nothing to do
		if err := c.Wake(t.Context(), jobs.Job{}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"airports/2013-01-01"}; !slices.Equal(c.queued, want) {
		t.Errorf("queued %q, want %q", c.queued, want)
	}
}

func TestDayWhoseRestatementWasCancelledStaysClosed(t *testing.T) {
	c := openCountry(t)
	c.create(airports)
	for state, closed := range map[jobs.State]bool{jobs.Succeeded: true, jobs.Cancelled: true, jobs.Waiting: false} {
		c.become(airports, state, map[string]string{"commitState": "committed"})
		got, err := countryLedger{c.ledger, "us"}.Jobs(t.Context(), "airports", "2013-01-01")
		if err != nil || len(got) != 1 || got[0].closed != closed {
			t.Errorf("%s: %+v, %v; want closed %v", state, got, err, closed)
		}
	}
}

func TestDayThatIsNotCompleteIsExplainedWithTheStepThatGivesItUp(t *testing.T) {
	c := openCountry(t)
	c.code = "us"
	c.keys = []string{"airports/2013-01-01/a.csv"}
	_, why, err := c.Explain(t.Context(), airports)
	const next = "sluice put delivers what it lacks; where that will never come, give the day up: sluice cancel airports/2013-01-01 --country us"
	if err != nil || len(why) != 1 || why[0].Next != next {
		t.Fatalf("%+v, %v", why, err)
	}
	later := jobs.ID{Feed: "airports", Day: "2013-01-02"}
	c.create(later)
	if _, why, err = c.Explain(t.Context(), later); err != nil || len(why) != 1 || why[0].Next != "put what it lacks, or give it up: sluice cancel airports/2013-01-01 --country us" {
		t.Errorf("the day after it: %+v, %v", why, err)
	}
	if j, err := c.Do(t.Context(), airports, jobs.Cancel, "ann", "upload broke"); err != nil || j.State != jobs.Cancelled {
		t.Errorf("cancel: %+v, %v", j, err)
	}
	if _, why, err = c.Explain(t.Context(), later); err != nil || len(why) != 1 || why[0].Kind != jobs.WhySlot {
		t.Errorf("afterwards: %+v, %v", why, err)
	}
}

func TestFilesOfARetractedDayAreShownAsRetracted(t *testing.T) {
	c := openCountry(t)
	c.keys = []string{"airports/2013-01-01/_COMPLETE", "airports/2013-01-01/a.csv"}
	if _, err := c.Do(t.Context(), airports, jobs.Retract, "ann", "mistyped"); err != nil {
		t.Fatal(err)
	}
	files, err := countryLedger{c.ledger, "us"}.Files(t.Context(), "airports", "2013-01-01")
	if err != nil || len(files) != 2 || files[1].State != "retracted" || files[1].Reason != "the day was retracted after this file had come" {
		t.Errorf("%+v, %v", files, err)
	}
	state, why, err := c.Explain(t.Context(), airports)
	if err != nil || state != jobs.Cancelled || len(why) != 1 || why[0].Text != "retract by ann: mistyped; it is as if the day had never been delivered" {
		t.Errorf("%s %+v, %v", state, why, err)
	}
}
