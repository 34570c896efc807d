package warehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// ExportLedger is the part of the ledger that an Exporter needs.
type ExportLedger interface {
	Get(ctx context.Context, id job.ID) (job.Job, error)
	Loading(ctx context.Context, j job.Job) error
	Exported(ctx context.Context, j job.Job, rows int64) error
}

// Exporter brings the rows of days that succeeded to the warehouse.
type Exporter struct {
	Ledger    ExportLedger
	Manifests interface {
		ReadJSON(ctx context.Context, uri string, out any) error
	}
	Warehouse interface {
		Load(ctx context.Context, m Manifest) (int64, error)
		Fence(ctx context.Context, id job.ID, token int64) error
	}
}

// restatements is how often a day may be restated while it is exported.
const restatements = 3

// Export loads what the ledger says is the day's published output, whichever run it is asked for: a message may be old.
//
// Rows of an older output never come after newer ones: whose rows may be on their way is recorded before they are, and whoever brings newer ones
// fences those off first, be they of somebody who died or who is only slow.
func (e Exporter) Export(ctx context.Context, id job.ID) error {
	for range restatements {
		j, err := e.Ledger.Get(ctx, id)
		if err != nil {
			return err
		}
		if !j.Exportable() {
			return nil // a run publishes: its end will be announced
		}
		rows, err := e.rows(ctx, j)
		if err == nil {
			err = e.Ledger.Exported(ctx, j, rows)
		}
		if !errors.Is(err, ledger.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("export of %s: it changed %d times meanwhile", id, restatements)
}

// rows has BigQuery take the rows of a job's output, and returns how many it took. It returns ledger.ErrChanged when there is another output.
func (e Exporter) rows(ctx context.Context, j job.Job) (int64, error) {
	if j.Exported != nil {
		return *j.Exported, nil
	}
	var m Manifest
	if err := e.Manifests.ReadJSON(ctx, j.Manifest, &m); err != nil {
		return 0, fmt.Errorf("manifest of %s: %w", j.ID, err)
	}
	if m.Feed != j.Feed || m.Day != j.Day || m.Revision != j.Commit.Revision {
		return 0, fmt.Errorf("manifest %s is of %s/%s revision %d, not of %s revision %d", j.Manifest, m.Feed, m.Day, m.Revision, j.ID, j.Commit.Revision)
	}
	if j.Loading != 0 && j.Loading != j.Commit.Token {
		if err := e.Warehouse.Fence(ctx, j.ID, j.Loading); err != nil {
			return 0, err
		}
	}
	if err := e.Ledger.Loading(ctx, j); err != nil {
		return 0, err
	}
	rows, err := e.Warehouse.Load(ctx, m)
	if err == nil {
		slog.InfoContext(ctx, "exported", "job", j.ID.String(), "token", m.Token, "rows", rows)
	}
	return rows, err
}
