// Package driver is what the functions do: take in files, plan, start, watch and finish runs, and tell of it.
//
// Each type here is one of these tasks over the few ports it needs. All of them may be repeated, may race with themselves and each
// other, and may die between any two calls: what they decide is in package job, what they change is guarded by the ledger, and what
// one left undone the next tick does.
package driver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

// Clock tells the time.
type Clock func() time.Time

// Landing lists what is in the landing bucket.
type Landing interface {
	// List returns the current objects whose key begins with prefix and sorts after the given one, in the order of their keys.
	List(ctx context.Context, prefix, after string) ([]job.File, error)
	// Page returns the first of them, some thousand at most, and the key after which to go on; "" when there are no more.
	Page(ctx context.Context, prefix, after string) ([]job.File, string, error)
}

// Objects reads and writes JSON objects in the artifacts bucket.
type Objects interface {
	URI(key string) string
	ReadJSON(ctx context.Context, key string, out any) error
	WriteJSON(ctx context.Context, key string, document any) error
}

// Faults remembers what fails, so that people hear of it once.
type Faults interface {
	Fault(ctx context.Context, name string) (job.Fault, error)
	SaveFault(ctx context.Context, name string, was, is job.Fault) error
}

// Alerts tells people.
type Alerts interface {
	Alert(ctx context.Context, e messages.Event) error
}

// Announcements tells the country's functions.
type Announcements interface {
	Announce(ctx context.Context, kind job.NoticeType, id job.ID, token int64) error
}

// lost tells whether an error only means that somebody else was faster; it is logged, not returned.
func lost(ctx context.Context, err error) bool {
	if !errors.Is(err, ledger.ErrChanged) {
		return false
	}
	slog.InfoContext(ctx, "somebody else was faster", "error", err.Error())
	return true
}

// within returns what says when a part of a function has had its share of the time: that which is left until Lambda ends the function,
// divided, and never more than most, unless that is 0. Without such an end, and without most, it has all the time that it takes.
func within(ctx context.Context, divided int, most time.Duration) (over func() bool) {
	began := time.Now() // of the machine, as the deadline is
	if end, is := ctx.Deadline(); is {
		share := end.Sub(began) / time.Duration(divided)
		if most == 0 || share < most {
			most = share
		}
	} else if most == 0 {
		return func() bool { return false }
	}
	return func() bool { return time.Since(began) >= most }
}
