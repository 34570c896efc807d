package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/job"
)

// Releases until 2026-11 kept all ids of open jobs in one item of the progress table, and all notices in another. What is left of either is
// moved to items of their own.
const (
	oldOutboxItem = "#outbox" // oldOutboxItem has an attribute for each notice.
	movedAtOnce   = 50        // movedAtOnce are the jobs of a transaction, of 100 writes at most: one for each, and one for the item that they leave.
)

// Migrate moves what an older release left in items that grew with the number of open jobs. Each part is moved in one write, so that dying in
// between loses nothing; functions of the older release may go on at the same time. There is nothing to do, and two reads are made, when
// nothing is left.
func (l *Ledger) Migrate(ctx context.Context) error {
	return errors.Join(l.moveOpen(ctx), l.moveNotices(ctx))
}

func (l *Ledger) moveOpen(ctx context.Context) error {
	var slots progressItem
	if _, err := l.get(ctx, l.tables.Progress, item{"name": str(slotsItem)}, &slots); err != nil {
		return fmt.Errorf("ledger: open jobs of an older release: %w", err)
	}
	for texts := range slices.Chunk(slots.Open, movedAtOnce) {
		moved, err := ids(texts)
		if err != nil {
			return fmt.Errorf("ledger: open jobs of an older release: %w", err)
		}
		b := job.Board{Jobs: map[job.ID]job.Job{}}
		wanted := map[job.ID]bool{}
		for _, id := range moved {
			wanted[id] = true
		}
		if err := l.add(ctx, b, wanted); err != nil {
			return fmt.Errorf("ledger: open jobs of an older release: %w", err)
		}
		changes := []change{{
			table: l.tables.Progress, key: item{"name": str(slotsItem)}, update: "DELETE #open :set",
			values: item{":set": &types.AttributeValueMemberSS{Value: texts}},
		}}
		for _, id := range moved {
			// One that has ended is in the old item only because the new code, which ended it, did not look there.
			if j, is := b.Jobs[id]; is && !j.State.Ended() {
				changes = append(changes, l.opened(id))
			}
		}
		if err := l.transact(ctx, changes...); err != nil {
			return fmt.Errorf("ledger: open jobs of an older release: %w", err)
		}
	}
	return nil
}

func (l *Ledger) moveNotices(ctx context.Context) error {
	old, err := l.read(ctx, l.tables.Progress, item{"name": str(oldOutboxItem)})
	if err != nil {
		return fmt.Errorf("ledger: notices of an older release: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(old)) {
		entry, ok := old[key].(*types.AttributeValueMemberM)
		if !ok {
			continue // the item's own key
		}
		var i noticeItem
		if err := attributevalue.UnmarshalMap(entry.Value, &i); err != nil {
			return fmt.Errorf("ledger: notice %s of an older release: %w", key, err)
		}
		n, err := i.notice()
		if err != nil {
			return fmt.Errorf("ledger: notice %s of an older release: %w", key, err)
		}
		left := change{
			table: l.tables.Progress, key: item{"name": str(oldOutboxItem)}, update: "REMOVE #notice", condition: "attribute_exists(#notice)",
			names: map[string]string{"#notice": key},
		}
		moved := l.note(n)
		moved.condition = "attribute_not_exists(feed)"
		err = l.transact(ctx, left, moved)
		if errors.Is(err, ErrChanged) { // it was told meanwhile, or noted again
			if _, is, err := l.notice(ctx, n); err != nil || !is {
				if err != nil {
					return err
				}
				continue
			}
			err = l.write(ctx, change{table: left.table, key: left.key, update: left.update, names: left.names})
		}
		if err != nil {
			return fmt.Errorf("ledger: notice %s of an older release: %w", key, err)
		}
	}
	return nil
}

// notice reads a notice of the outbox as it is now; it reports whether it is there.
func (l *Ledger) notice(ctx context.Context, n job.Notice) (job.Notice, bool, error) {
	var i noticeItem
	is, err := l.get(ctx, l.tables.Jobs, besideJobs(outboxItems, noticeKey(n)), &i)
	if err != nil || !is {
		return job.Notice{}, false, wrap(err, "ledger: notice %s", noticeKey(n))
	}
	got, err := i.notice()
	return got, true, err
}
