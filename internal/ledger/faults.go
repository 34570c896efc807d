package ledger

import (
	"context"

	"github.com/sluice-data/sluice/internal/job"
)

// faultItem begins the names, in the progress table, of what is remembered of faults; no feed's name has a #.
const faultItem = "#fault/"

// remembered is an item of a fault.
type remembered struct {
	ToldAt string `dynamodbav:"toldAt"`
	SeenAt string `dynamodbav:"seenAt"`
	Untold int64  `dynamodbav:"untold"`
}

// Fault returns what is remembered of a fault; nothing of one that is new.
func (l *Ledger) Fault(ctx context.Context, name string) (job.Fault, error) {
	var i remembered
	_, err := l.get(ctx, l.tables.Progress, item{"name": str(faultItem + name)}, &i)
	return job.Fault{ToldAt: moment(i.ToldAt), SeenAt: moment(i.SeenAt), Untold: i.Untold}, wrap(err, "ledger: fault %s", name)
}

// SaveFault remembers a fault. It returns ErrChanged when it is not as it was read.
func (l *Ledger) SaveFault(ctx context.Context, name string, was, is job.Fault) error {
	c := change{
		table: l.tables.Progress, key: item{"name": str(faultItem + name)}, update: "SET toldAt = :told, seenAt = :seen, untold = :untold",
		condition: "attribute_not_exists(seenAt)",
		values:    item{":told": str(stamp(is.ToldAt)), ":seen": str(stamp(is.SeenAt)), ":untold": num(is.Untold)},
	}
	if !was.SeenAt.IsZero() {
		c.condition = "seenAt = :was AND untold = :count"
		c.values[":was"], c.values[":count"] = str(stamp(was.SeenAt)), num(was.Untold)
	}
	return wrap(l.write(ctx, c), "ledger: fault %s", name)
}
