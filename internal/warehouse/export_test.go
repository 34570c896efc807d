package warehouse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/sizing"
)

// desk is the ledger, the manifests and the warehouse of an export.
type desk struct {
	job      job.Job
	manifest Manifest
	loaded   []int64 // the revisions that were loaded
	fenced   []int64 // the runs that were fenced off
	meddle   func(*desk)
}

func newDesk() *desk {
	return &desk{
		job: job.Job{ID: job.ID{Feed: "flights", Day: "2013-01-01"}, State: job.Succeeded, Token: 2, Revision: 1, Manifest: "s3://c/m.json",
			Commit: job.Commit{Token: 2, Revision: 1, State: job.Committed}},
		manifest: Manifest{Feed: "flights", Day: "2013-01-01", Token: 2, Revision: 1, Rows: 3},
	}
}

func (d *desk) Get(context.Context, job.ID) (job.Job, error) { return d.job, nil }

func (d *desk) ReadJSON(_ context.Context, uri string, out any) error {
	if uri != d.job.Manifest {
		return fmt.Errorf("no %s", uri)
	}
	*out.(*Manifest) = d.manifest
	return nil
}

func (d *desk) Fence(_ context.Context, _ job.ID, token int64) error {
	d.fenced = append(d.fenced, token)
	return nil
}

func (d *desk) Loading(_ context.Context, j job.Job) error {
	if j.Commit != d.job.Commit {
		return fmt.Errorf("loading: %w", ledger.ErrChanged)
	}
	d.job.Loading = j.Commit.Token
	return nil
}

func (d *desk) Load(_ context.Context, m Manifest) (int64, error) {
	d.loaded = append(d.loaded, m.Revision)
	if d.meddle != nil {
		d.meddle(d)
	}
	return m.Rows, nil
}

func (d *desk) Exported(_ context.Context, j job.Job, rows int64) error {
	if j.Commit != d.job.Commit {
		return fmt.Errorf("exported: %w", ledger.ErrChanged)
	}
	d.job.Exported, d.job.Loading = &rows, 0
	return nil
}

func export(t *testing.T, d *desk) error {
	t.Helper()
	return Exporter{d, d, d}.Export(t.Context(), d.job.ID)
}

func TestDayIsExportedOnce(t *testing.T) {
	d := newDesk()
	for range 2 {
		if err := export(t, d); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(d.loaded, []int64{1}) || d.job.Exported == nil || *d.job.Exported != 3 || len(d.fenced) != 0 {
		t.Errorf("loaded %v, exported %v, fenced %v", d.loaded, d.job.Exported, d.fenced)
	}
}

func TestDayThatIsRestatedMeanwhileIsExportedAgain(t *testing.T) {
	d := newDesk()
	d.meddle = func(d *desk) {
		d.meddle = nil
		d.job.Revision, d.job.Token, d.job.Commit = 2, 3, job.Commit{Token: 3, Revision: 2, State: job.Committed}
		d.manifest.Revision, d.manifest.Rows = 2, 5
	}
	if err := export(t, d); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.loaded, []int64{1, 2}) || *d.job.Exported != 5 || !slices.Equal(d.fenced, []int64{2}) {
		t.Errorf("loaded %v, exported %v, fenced %v", d.loaded, *d.job.Exported, d.fenced)
	}
}

// TestRowsOfAnOlderRevisionNeverComeAfterNewerOnes has a day restated and exported before each call of an export in turn. Whether its process
// dies there or is only slow: what BigQuery was asked for before comes first or not at all.
func TestRowsOfAnOlderRevisionNeverComeAfterNewerOnes(t *testing.T) {
	play := func(at int, dies bool) (calls int) {
		p, quick := newPlayed()
		db := emulator.NewMemory()
		tables := emulator.Tables(t, db, "export", emulator.Feed("flights"))
		book, manifests := ledger.New(db, tables), manifestOf{}
		_, slow := newPlayed()
		var hook func() error
		slow.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if err := hook(); err != nil {
				return nil, err
			}
			return p.RoundTrip(r)
		})
		newer := Exporter{book, manifests, quick}
		dead, nested := false, false
		hook = func() error {
			if nested {
				return nil
			}
			if calls++; calls == at {
				nested = true
				publish(t, book, db, tables, 2)
				if err := newer.Export(t.Context(), flights); err != nil {
					t.Errorf("call %d, dies %v: the newer export: %v", at, dies, err)
				}
				nested, dead = false, dies
			}
			if dead {
				return errors.New("the process has ended")
			}
			return nil
		}
		publish(t, book, db, tables, 1)
		db.Before = func() (int, error) { return 0, hook() }
		err := Exporter{book, manifests, slow}.Export(t.Context(), flights)
		db.Before = func() (int, error) { return 0, nil }
		if (err != nil) != dead {
			t.Errorf("call %d, dies %v: %v", at, dies, err)
		}
		for id := range p.jobs { // nobody waits for it any more, and yet it ends
			p.end(id)
		}
		j, err := book.Get(t.Context(), flights)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(j.Revision); j.Exported == nil && at == 0 || len(p.loaded) == 0 || p.loaded[len(p.loaded)-1] != want || !slices.IsSorted(p.loaded) {
			t.Errorf("call %d, dies %v: BigQuery took the rows of %v, readers have revision %s", at, dies, p.loaded, want)
		}
		return calls
	}
	calls := play(0, false)
	if calls < 9 {
		t.Fatalf("an export makes %d calls only", calls)
	}
	for at := 1; at <= calls; at++ {
		play(at, false)
		play(at, true)
	}
}

var flights = job.ID{Feed: "flights", Day: "2013-01-01"}

// manifestOf makes the manifests of runs.
type manifestOf struct{}

func (manifestOf) ReadJSON(_ context.Context, uri string, out any) error {
	m := manifest
	m.Files = m.Files[:1] // files are copied side by side: calls would have no order
	if _, err := fmt.Sscan(uri, &m.Token); err != nil {
		return err
	}
	m.Revision = m.Token
	*out.(*Manifest) = m
	return nil
}

// publish brings a day to its next revision, in the run of the same number.
func publish(t *testing.T, book *ledger.Ledger, db *emulator.Memory, tables discovery.Tables, revision int64) {
	t.Helper()
	now, ctx := time.Date(2013, 1, 2, 12, 0, 0, 0, time.UTC), t.Context()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if revision == 1 {
		_, err := book.Create(ctx, flights, sizing.Decision{}, job.Unread{}, now)
		must(err)
	} else {
		was, err := book.Get(ctx, flights)
		must(err)
		is, err := was.Apply(job.Act{Verb: job.Restate, By: "ann", Reason: "because", At: now}, flights.Day)
		must(err)
		must(book.Act(ctx, was, is))
	}
	must(book.Move(ctx, job.Decision{ID: flights, From: job.Waiting, To: job.Ready, Token: revision - 1}, now))
	r := job.Run{ID: flights, Token: revision, State: job.RunRunning, StartedAt: now, FinishedAt: now}
	must(book.Start(ctx, r, 5))
	number := &types.AttributeValueMemberN{Value: fmt.Sprint(revision)}
	emulator.Set(t, db, tables.Jobs, map[string]types.AttributeValue{"feed": &types.AttributeValueMemberS{Value: flights.Feed}, "day": &types.AttributeValueMemberS{Value: string(flights.Day)}},
		map[string]types.AttributeValue{"commitToken": number, "commitRevision": number, "commitState": &types.AttributeValueMemberS{Value: "committed"},
			"manifest": &types.AttributeValueMemberS{Value: fmt.Sprint(revision)}})
	j, err := book.Get(ctx, flights)
	must(err)
	last, err := book.LastDay(ctx, flights.Feed)
	must(err)
	must(book.Finish(ctx, j.End(r, job.Feed{}, false), last))
}

func TestDayThatIsNotPublishedIsNotExported(t *testing.T) {
	for name, meddle := range map[string]func(*job.Job){
		"its run has not ended":     func(j *job.Job) { j.State = job.Running },
		"not committed yet":         func(j *job.Job) { j.Commit.State = job.Committing },
		"a newer one is published":  func(j *job.Job) { j.State, j.Revision, j.Commit.State = job.Running, 2, job.Committing },
		"it has never been run yet": func(j *job.Job) { j.State, j.Commit = job.Waiting, job.Commit{} },
	} {
		d := newDesk()
		meddle(&d.job)
		if err := export(t, d); err != nil || len(d.loaded) != 0 {
			t.Errorf("%s: loaded %v, %v", name, d.loaded, err)
		}
	}
}

func TestDayThatIsBeingRestatedIsExportedAsReadersHaveIt(t *testing.T) {
	for _, state := range []job.State{job.Waiting, job.Running, job.Dead, job.Cancelled} {
		d := newDesk()
		d.job.State, d.job.Revision, d.job.Token = state, 2, 3
		if err := export(t, d); err != nil || !slices.Equal(d.loaded, []int64{1}) || d.job.Exported == nil {
			t.Errorf("%s: loaded %v, exported %v, %v", state, d.loaded, d.job.Exported, err)
		}
	}
}

func TestManifestOfAnotherDayIsRefused(t *testing.T) {
	d := newDesk()
	d.manifest.Day = "2013-01-02"
	err := export(t, d)
	if err == nil || err.Error() != "manifest s3://c/m.json is of flights/2013-01-02 revision 1, not of flights/2013-01-01 revision 1" {
		t.Errorf("got %v", err)
	}
}

func TestDayThatNeverStandsStillIsAnError(t *testing.T) {
	d := newDesk()
	d.meddle = func(d *desk) {
		d.job.Revision++
		d.job.Commit.Revision++
		d.manifest.Revision++
	}
	if err := export(t, d); err == nil || errors.Is(err, ledger.ErrChanged) || err.Error() != "export of flights/2013-01-01: it changed 3 times meanwhile" {
		t.Errorf("got %v", err)
	}
}
