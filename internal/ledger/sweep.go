package ledger

import (
	"context"
	"time"
)

// sweepItem is the item in the progress table that says when the whole landing bucket was last looked through.
const sweepItem = "#sweep"

// sweep is that item.
type sweep struct {
	At string `dynamodbav:"at"`
}

// LastSweep is when the whole landing bucket was last looked through; zero: never.
func (l *Ledger) LastSweep(ctx context.Context) (time.Time, error) {
	var s sweep
	_, err := l.get(ctx, l.tables.Progress, item{"name": str(sweepItem)}, &s)
	return moment(s.At), wrap(err, "ledger: last sweep")
}

// Swept notes that the whole landing bucket was looked through from a time on.
func (l *Ledger) Swept(ctx context.Context, began time.Time) error {
	return wrap(l.write(ctx, change{table: l.tables.Progress, key: item{"name": str(sweepItem)},
		update: "SET #at = :at", values: item{":at": str(stamp(began))}}), "ledger: sweep")
}
