package warehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// desk is the ledger, the manifests and the warehouse of an export.
type desk struct {
	job      job.Job
	manifest Manifest
	loaded   []int64 // the revisions that were loaded
	after    int64   // after which run the last of them was
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

func (d *desk) Load(_ context.Context, m Manifest, after int64) (int64, error) {
	d.loaded, d.after = append(d.loaded, m.Revision), after
	if d.meddle != nil {
		d.meddle(d)
	}
	return m.Rows, nil
}

func (d *desk) Exported(_ context.Context, j job.Job, rows int64) error {
	if j.Commit != d.job.Commit {
		return fmt.Errorf("exported: %w", ledger.ErrChanged)
	}
	d.job.Exported = &rows
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
	if !slices.Equal(d.loaded, []int64{1}) || d.job.Exported == nil || *d.job.Exported != 3 {
		t.Errorf("loaded %v, exported %v", d.loaded, d.job.Exported)
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
	if !slices.Equal(d.loaded, []int64{1, 2}) || *d.job.Exported != 5 {
		t.Errorf("loaded %v, exported %v", d.loaded, *d.job.Exported)
	}
}

func TestRowsThatCameLateAreReplacedByTheNewerOnesAgain(t *testing.T) {
	d := newDesk()
	d.meddle = func(d *desk) { // meanwhile the day is restated, and another invocation brings its rows
		d.meddle = nil
		d.job.Revision, d.job.Token, d.job.Commit = 2, 3, job.Commit{Token: 3, Revision: 2, State: job.Committed}
		d.manifest.Revision, d.manifest.Rows = 2, 5
		five := int64(5)
		d.job.Exported = &five
	}
	if err := export(t, d); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.loaded, []int64{1, 2}) || d.after != 2 {
		t.Errorf("loaded %v, the last after %d", d.loaded, d.after)
	}
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
