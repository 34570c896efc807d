package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/job"
)

// passItem is the item in the progress table that says how far the pass through the whole landing bucket came.
const passItem = "#sweep"

// Pass is how far the look through the whole landing bucket came.
type Pass struct {
	Last   time.Time // Last is when the last pass began in which nothing failed; zero: there was none.
	Began  time.Time // Began is when the present pass began; zero: none is under way.
	After  string    // After is the key up to which the present pass came.
	Failed bool      // Failed: something failed in the present pass.
}

// pass is that item.
type pass struct {
	Last   string `dynamodbav:"at"`
	Began  string `dynamodbav:"began"`
	After  string `dynamodbav:"after"`
	Failed bool   `dynamodbav:"failed"`
}

// Pass returns how far the pass came.
func (l *Ledger) Pass(ctx context.Context) (Pass, error) {
	var p pass
	_, err := l.get(ctx, l.tables.Progress, item{"name": str(passItem)}, &p)
	return Pass{moment(p.Last), moment(p.Began), p.After, p.Failed}, wrap(err, "ledger: pass through the landing bucket")
}

// SavePass notes how far the pass came. It returns ErrChanged when it is not as it was read.
func (l *Ledger) SavePass(ctx context.Context, was, is Pass) error {
	c := change{
		table: l.tables.Progress, key: item{"name": str(passItem)}, update: "SET #at = :at, began = :began, #after = :after, failed = :failed",
		condition: "attribute_not_exists(began) OR began = :was AND #after = :behind",
		values: item{
			":at": str(stamp(is.Last)), ":began": str(stamp(is.Began)), ":after": str(is.After), ":failed": &types.AttributeValueMemberBOOL{Value: is.Failed},
			":was": str(stamp(was.Began)), ":behind": str(was.After),
		},
	}
	return wrap(l.write(ctx, c), "ledger: pass through the landing bucket")
}

// Days returns the jobs of a feed from a day to another one, both included.
func (l *Ledger) Days(ctx context.Context, feed string, from, to job.Day) (map[job.ID]job.Job, error) {
	jobs := map[job.ID]job.Job{}
	for i, err := range each[jobItem](ctx, l, l.tables.Jobs, "feed = :feed AND #day BETWEEN :from AND :to",
		item{":feed": str(feed), ":from": str(string(from)), ":to": str(string(to))}) {
		if err != nil {
			return nil, fmt.Errorf("ledger: jobs of feed %s: %w", feed, err)
		}
		j := i.job()
		jobs[j.ID] = j
	}
	return jobs, nil
}

// Recorded returns what is recorded of files, given by their keys in the landing bucket; of some it may be nothing.
func (l *Ledger) Recorded(ctx context.Context, files []job.File) ([]job.File, error) {
	keys := make([]item, 0, len(files))
	for _, f := range files {
		id, name, err := job.ParseKey(f.Key)
		if err != nil {
			return nil, fmt.Errorf("ledger: file %s: %w", f.Key, err)
		}
		keys = append(keys, fileKey(job.File{ID: id, Name: name}))
	}
	items, err := batchGet[fileItem](ctx, l, l.tables.Files, keys)
	if err != nil {
		return nil, fmt.Errorf("ledger: files: %w", err)
	}
	found := make([]job.File, 0, len(items))
	for _, i := range items {
		f, err := i.file()
		if err != nil {
			return nil, fmt.Errorf("ledger: files: %w", err)
		}
		found = append(found, f)
	}
	return found, nil
}

// lookedAtOnce is how many jobs are written with one transaction, which takes 100 at most.
const lookedAtOnce = 100

// Looked records of jobs, each as it was read but for its Looked, that all was in order. Those of which one is not as it was read stay as they
// are, and are looked at again.
func (l *Ledger) Looked(ctx context.Context, jobs []job.Job) error {
	for some := range slices.Chunk(jobs, lookedAtOnce) {
		var changes []change
		for _, j := range some {
			changes = append(changes, change{
				table: l.tables.Jobs, key: jobKey(j.ID), update: "SET looked = :looked", condition: "#state = :state AND #token = :token AND revision = :revision",
				values: item{":looked": str(j.Looked), ":state": str(string(j.State)), ":token": num(j.Token), ":revision": num(j.Revision)},
			})
		}
		if err := l.transact(ctx, changes...); err != nil && !errors.Is(err, ErrChanged) {
			return fmt.Errorf("ledger: %d jobs: %w", len(some), err)
		}
	}
	return nil
}
