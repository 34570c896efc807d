package driver

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-data/sluice/internal/job"
)

// PromoteLedger is the part of the ledger that a Promoter needs.
type PromoteLedger interface {
	Board(ctx context.Context) (job.Board, error)
	Move(ctx context.Context, d job.Decision, now time.Time) error
	TicketSent(ctx context.Context, id job.ID, now time.Time) error
}

// TicketSender queues the ticket of a job.
type TicketSender interface {
	Send(ctx context.Context, id job.ID) error
}

// Promoter writes down which jobs became ready, wait or are blocked, and queues a ticket for each ready one. It starts nothing.
type Promoter struct {
	Ledger   PromoteLedger
	Landing  Landing
	Tickets  TicketSender
	Topics   Announcements // Topics wakes whoever starts jobs; nil where that is who promotes.
	Zone     *time.Location
	Parallel int
	Now      Clock
}

// rounds is how often the board is read anew because somebody else changes it at the same time. Whoever was faster may have read it
// before what we came for.
const rounds = 10

// Promote brings the ledger up to date with the plan.
func (p Promoter) Promote(ctx context.Context) error {
	_, err := p.promote(ctx)
	return err
}

// promote returns the board as it is then.
func (p Promoter) promote(ctx context.Context) (b job.Board, err error) {
	for range rounds {
		if b, err = p.Board(ctx); err != nil {
			return b, err
		}
		err = p.apply(ctx, b)
		if lost(ctx, err) {
			continue
		}
		if err != nil {
			return b, err
		}
		return b, p.tickets(ctx, b)
	}
	return b, nil // the next tick goes on
}

// Board is the state of the country with all that a plan needs.
func (p Promoter) Board(ctx context.Context) (job.Board, error) {
	b, err := p.Ledger.Board(ctx)
	if err != nil {
		return b, err
	}
	b.Now, b.Zone, b.Parallel = p.Now(), p.Zone, p.Parallel
	b.Landed, err = p.landed(ctx, b)
	return b, err
}

// listsAtOnce is how many lists are under way at once: as many as the SDK's client keeps connections for.
const listsAtOnce = 10

// landed finds the days that have files but no job, as far as an open job might have to wait for them.
func (p Promoter) landed(ctx context.Context, b job.Board) (map[string][]job.Day, error) {
	until := map[string]job.Day{}
	for id, j := range b.Jobs {
		if j.Planned(b.LastDay[id.Feed]) {
			until[id.Feed] = max(until[id.Feed], id.Day)
		}
	}
	feeds := slices.DeleteFunc(slices.Sorted(maps.Keys(until)), func(feed string) bool { return !gap(b, feed, until[feed]) })
	found := make([][]job.File, len(feeds))
	lists, once := errgroup.WithContext(ctx)
	lists.SetLimit(listsAtOnce) // a slot that is free waits for these lists
	for n, feed := range feeds {
		lists.Go(func() (err error) {
			found[n], err = p.Landing.List(once, feed+"/", feed+"/"+string(b.LastDay[feed]))
			return err
		})
	}
	if err := lists.Wait(); err != nil {
		return nil, err
	}
	var files []job.File
	for _, f := range slices.Concat(found...) {
		id, name, err := job.ParseKey(f.Key)
		if day, in := job.DayOf(f.Key); err != nil && in && f.Bytes > 0 {
			id, name, err = day, f.Key, nil // it cannot be read, but is of the day all the same
		}
		if err == nil && id.Day.Check(b.Now, b.Zone) == nil && id.Day < until[id.Feed] {
			f.ID, f.Name = id, name
			files = append(files, f)
		}
	}
	return job.MissingDays(files, b.Jobs), nil
}

// gap tells whether there is a day without a job between a feed's last one and another. Before a feed's first day there may always be one.
func gap(b job.Board, feed string, until job.Day) bool {
	last := b.LastDay[feed]
	if last == "" {
		return true
	}
	for day := last.Next(); day < until; day = day.Next() {
		if _, ok := b.Jobs[job.ID{Feed: feed, Day: day}]; !ok {
			return true
		}
	}
	return false
}

// apply writes the plan's decisions, and the board with them, until the plan wants no more. Of thousands it leaves to the next tick what would
// take more than half of the function's time.
func (p Promoter) apply(ctx context.Context, b job.Board) error {
	over := within(ctx, 2, 0)
	plan := job.NewMoves(b)
	for moves := plan.Next(); len(moves) > 0; moves = plan.Next() {
		for _, d := range moves {
			if over() {
				slog.InfoContext(ctx, "the next tick moves the rest")
				return nil
			}
			if err := p.Ledger.Move(ctx, d, p.Now()); err != nil {
				return err
			}
			slog.InfoContext(ctx, "job", "job", d.ID.String(), "from", d.From, "to", d.To, "reason", d.Reason)
			plan.Made(d)
		}
	}
	return nil
}

// Moving counts the jobs that go on by themselves. Each of the others waits for one of these, for a file, for the end of a window, for
// somebody's decision, or for an engine to be switched on.
func (p Promoter) Moving(ctx context.Context) (int, error) {
	b, err := p.Ledger.Board(ctx)
	n := 0
	for _, j := range b.Jobs {
		if j.Moves() {
			n++
		}
	}
	return n, err
}

// tickets queues what is ready and has no ticket yet.
func (p Promoter) tickets(ctx context.Context, b job.Board) error {
	var ready []job.Job
	for _, j := range b.Jobs {
		if j.State == job.Ready && j.Ticket.SentAt.IsZero() {
			ready = append(ready, j)
		}
	}
	slices.SortFunc(ready, func(a, b job.Job) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Feed, b.Feed)) })
	var faults []error
	for _, j := range ready {
		err := p.Tickets.Send(ctx, j.ID)
		if err == nil {
			err = p.Ledger.TicketSent(ctx, j.ID, p.Now())
		}
		if err == nil && p.Topics != nil {
			err = p.Topics.Announce(ctx, job.NoticeReady, j.ID, j.Token)
		}
		if err != nil && !lost(ctx, err) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}
