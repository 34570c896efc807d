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
	Exported(ctx context.Context, j job.Job, rows int64) error
}

// Exporter brings the rows of days that succeeded to the warehouse.
type Exporter struct {
	Ledger    ExportLedger
	Manifests interface {
		ReadJSON(ctx context.Context, uri string, out any) error
	}
	Warehouse interface {
		Load(ctx context.Context, m Manifest, after int64) (int64, error)
	}
}

// restatements is how often a day may be restated while it is exported.
const restatements = 3

// Export loads what the ledger says is the day's published output, whichever run it is asked for: a message may be old.
func (e Exporter) Export(ctx context.Context, id job.ID) error {
	var after int64 // the run whose rows may have come after those of a newer one
	for range restatements {
		j, err := e.Ledger.Get(ctx, id)
		if err != nil {
			return err
		}
		if !j.Exportable() {
			return nil // a run publishes: its end will be announced
		}
		rows, err := e.rows(ctx, j, after)
		if err != nil {
			return err
		}
		if err := e.Ledger.Exported(ctx, j, rows); !errors.Is(err, ledger.ErrChanged) {
			return err
		}
		// The day was restated while its rows were on their way, and they may have come after the newer ones, even if those are known to be
		// there: look again, and bring the newer ones again.
		after = j.Commit.Token
	}
	return fmt.Errorf("export of %s: it changed %d times meanwhile", id, restatements)
}

func (e Exporter) rows(ctx context.Context, j job.Job, after int64) (int64, error) {
	if j.Exported != nil && after == 0 {
		return *j.Exported, nil
	}
	var m Manifest
	if err := e.Manifests.ReadJSON(ctx, j.Manifest, &m); err != nil {
		return 0, fmt.Errorf("manifest of %s: %w", j.ID, err)
	}
	if m.Feed != j.Feed || m.Day != j.Day || m.Revision != j.Commit.Revision {
		return 0, fmt.Errorf("manifest %s is of %s/%s revision %d, not of %s revision %d", j.Manifest, m.Feed, m.Day, m.Revision, j.ID, j.Commit.Revision)
	}
	rows, err := e.Warehouse.Load(ctx, m, after)
	if err == nil {
		slog.InfoContext(ctx, "exported", "job", j.ID.String(), "token", m.Token, "rows", rows)
	}
	return rows, err
}
