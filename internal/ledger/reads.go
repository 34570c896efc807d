package ledger

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"golang.org/x/sync/errgroup"

	"github.com/sluice-data/sluice/internal/job"
)

// Feeds returns the feeds of the country, as deployed.
func (l *Ledger) Feeds(ctx context.Context) (map[string]job.Feed, error) {
	items, err := scan[feedItem](ctx, l, l.tables.Feeds)
	if err != nil {
		return nil, fmt.Errorf("ledger: feeds: %w", err)
	}
	feeds := map[string]job.Feed{}
	for _, i := range items {
		feeds[i.Feed] = i.feed()
	}
	return feeds, nil
}

// Get reads one job. It returns ErrNoJob when there is none.
func (l *Ledger) Get(ctx context.Context, id job.ID) (job.Job, error) {
	var i jobItem
	found, err := l.get(ctx, l.tables.Jobs, jobKey(id), &i)
	if err == nil && !found {
		err = ErrNoJob
	}
	if err != nil {
		return job.Job{}, fmt.Errorf("ledger: job %s: %w", id, err)
	}
	return i.job(), nil
}

// publishedBefore returns the greatest day of a feed, before another one, of which readers have rows; "" when there is none.
func (l *Ledger) publishedBefore(ctx context.Context, id job.ID) (job.Day, error) {
	condition := "feed = :feed AND #day < :day"
	pages := dynamodb.NewQueryPaginator(l.db, &dynamodb.QueryInput{
		TableName: &l.tables.Jobs, KeyConditionExpression: &condition, ExpressionAttributeNames: namesIn(condition), ConsistentRead: aws.Bool(true),
		ExpressionAttributeValues: item{":feed": str(id.Feed), ":day": str(string(id.Day))},
		ScanIndexForward:          aws.Bool(false), Limit: aws.Int32(25), // nearly always the first one
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("ledger: jobs of feed %s: %w", id.Feed, err)
		}
		var items []jobItem
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &items); err != nil {
			return "", fmt.Errorf("ledger: jobs of feed %s: %w", id.Feed, err)
		}
		for _, i := range items {
			if j := i.job(); j.Readable() {
				return j.Day, nil
			}
		}
	}
	return "", nil
}

// List returns every job of the country, by feed and day. It reads the whole table: it is for people.
func (l *Ledger) List(ctx context.Context) ([]job.Job, error) {
	items, err := scan[jobItem](ctx, l, l.tables.Jobs)
	if err != nil {
		return nil, fmt.Errorf("ledger: jobs: %w", err)
	}
	jobs := make([]job.Job, 0, len(items))
	for _, i := range items {
		if !strings.HasPrefix(i.Feed, "#") {
			jobs = append(jobs, i.job())
		}
	}
	slices.SortFunc(jobs, func(a, b job.Job) int {
		return cmp.Or(cmp.Compare(a.Feed, b.Feed), cmp.Compare(a.Day, b.Day))
	})
	return jobs, nil
}

// Run reads one attempt at a job.
func (l *Ledger) Run(ctx context.Context, id job.ID, token int64) (job.Run, error) {
	var i runItem
	found, err := l.get(ctx, l.tables.Runs, runKey(id, token), &i)
	if err == nil && !found {
		err = ErrNoJob
	}
	if err != nil {
		return job.Run{}, fmt.Errorf("ledger: run %s#%d: %w", id, token, err)
	}
	return i.run()
}

// Runs returns the attempts at a job, the first one first.
func (l *Ledger) Runs(ctx context.Context, id job.ID) ([]job.Run, error) {
	items, err := query[runItem](ctx, l, l.tables.Runs, "job = :job", item{":job": str(id.String())})
	if err != nil {
		return nil, fmt.Errorf("ledger: runs of %s: %w", id, err)
	}
	var runs []job.Run
	for _, i := range items {
		r, err := i.run()
		if err != nil {
			return nil, fmt.Errorf("ledger: runs of %s: %w", id, err)
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// Files returns what is recorded of a job's files, the marker among them.
func (l *Ledger) Files(ctx context.Context, id job.ID) ([]job.File, error) {
	return l.files(ctx, id.String())
}

// Rejected returns the objects whose key names no feed, day and file, or a day that is not accepted.
func (l *Ledger) Rejected(ctx context.Context) ([]job.File, error) {
	files, err := l.files(ctx, rejectedFiles)
	return slices.DeleteFunc(files, func(f job.File) bool { return f.State != job.Rejected }), err
}

func (l *Ledger) files(ctx context.Context, key string) ([]job.File, error) {
	items, err := query[fileItem](ctx, l, l.tables.Files, "job = :job", item{":job": str(key)})
	if err != nil {
		return nil, fmt.Errorf("ledger: files of %s: %w", key, err)
	}
	var files []job.File
	for _, i := range items {
		f, err := i.file()
		if err != nil {
			return nil, fmt.Errorf("ledger: files of %s: %w", key, err)
		}
		files = append(files, f)
	}
	return files, nil
}

// File reads what is recorded of one file, given with its ID and name; it tells whether anything is.
func (l *Ledger) File(ctx context.Context, f job.File) (job.File, bool, error) {
	var i fileItem
	found, err := l.get(ctx, l.tables.Files, fileKey(f), &i)
	if err != nil || !found {
		return job.File{}, false, wrap(err, "ledger: file %s", f.Key)
	}
	got, err := i.file()
	return got, true, wrap(err, "ledger: file %s", f.Key)
}

// readsAtOnce is how many reads are under way at once: as many as the SDK's client keeps connections for.
const readsAtOnce = 10

// Board reads the state of the country that a plan is made of: per feed the jobs from its last succeeded day on, those that have not
// ended, and the prerequisites of those that are open. What is no matter of the ledger (the time, the files without a job, the
// number of slots) is left to the caller.
func (l *Ledger) Board(ctx context.Context) (job.Board, error) {
	feeds, err := l.Feeds(ctx)
	if err != nil {
		return job.Board{}, err
	}
	b := job.Board{Feeds: feeds, LastDay: map[string]job.Day{}, Jobs: map[job.ID]job.Job{}}
	keys := []item{{"name": str(slotsItem)}}
	for name := range feeds {
		keys = append(keys, item{"name": str(name)})
	}
	progress, err := batchGet[progressItem](ctx, l, l.tables.Progress, keys)
	if err != nil {
		return job.Board{}, fmt.Errorf("ledger: progress: %w", err)
	}
	wanted := map[job.ID]bool{}
	for _, p := range progress {
		if p.Name != slotsItem {
			b.LastDay[p.Name] = job.Day(p.LastDay)
			continue
		}
		if b.Slots, err = ids(p.Jobs); err != nil {
			return job.Board{}, fmt.Errorf("ledger: slots: %w", err)
		}
		left, err := ids(p.Open)
		if err != nil {
			return job.Board{}, fmt.Errorf("ledger: open jobs: %w", err)
		}
		for _, id := range slices.Concat(b.Slots, left) {
			wanted[id] = true
		}
	}
	names := slices.Sorted(maps.Keys(feeds))
	current := make([][]job.Job, len(names))
	var open []job.ID
	reads, once := errgroup.WithContext(ctx)
	reads.SetLimit(readsAtOnce) // a slot that is free waits for these reads
	reads.Go(func() (err error) {
		open, err = l.open(once)
		return err
	})
	for n, name := range names {
		reads.Go(func() error {
			since := cmp.Or(string(b.LastDay[name]), "0")
			for i, err := range each[jobItem](once, l, l.tables.Jobs, "feed = :feed AND #day >= :day", item{":feed": str(name), ":day": str(since)}) {
				if err != nil {
					return wrap(err, "ledger: jobs of feed %s", name)
				}
				current[n] = append(current[n], i.job())
			}
			return nil
		})
	}
	if err := reads.Wait(); err != nil {
		return job.Board{}, err
	}
	for _, jobs := range current {
		for _, j := range jobs {
			b.Jobs[j.ID] = j
		}
	}
	for _, id := range open {
		wanted[id] = true
	}
	if err := l.add(ctx, b, wanted); err != nil {
		return job.Board{}, fmt.Errorf("ledger: open jobs: %w", err)
	}
	clear(wanted)
	for id, j := range b.Jobs {
		if j.Planned(b.LastDay[id.Feed]) {
			for _, p := range feeds[id.Feed].Prerequisites {
				wanted[job.ID{Feed: p, Day: id.Day}] = true
			}
		}
	}
	if err := l.add(ctx, b, wanted); err != nil {
		return job.Board{}, fmt.Errorf("ledger: prerequisites: %w", err)
	}
	return b, nil
}

// open returns the jobs that have not ended, whichever day they are of.
func (l *Ledger) open(ctx context.Context) ([]job.ID, error) {
	var all []job.ID
	for i, err := range each[jobItem](ctx, l, l.tables.Jobs, "feed = :open", item{":open": str(openItems)}) {
		var id job.ID
		if err == nil {
			id, err = job.ParseID(i.Day)
		}
		if err != nil {
			return nil, fmt.Errorf("ledger: open jobs: %w", err)
		}
		all = append(all, id)
	}
	return all, nil
}

// add reads the jobs that a board lacks.
func (l *Ledger) add(ctx context.Context, b job.Board, wanted map[job.ID]bool) error {
	var keys []item
	for id := range wanted {
		if _, have := b.Jobs[id]; !have {
			keys = append(keys, jobKey(id))
		}
	}
	more, err := batchGet[jobItem](ctx, l, l.tables.Jobs, keys)
	for _, i := range more {
		j := i.job()
		b.Jobs[j.ID] = j
	}
	return err
}

// ids reads a set of jobs, in order.
func ids(texts []string) ([]job.ID, error) {
	var all []job.ID
	for _, text := range slices.Sorted(slices.Values(texts)) {
		id, err := job.ParseID(text)
		if err != nil {
			return nil, err
		}
		all = append(all, id)
	}
	return all, nil
}

// Outbox reads what is still to be told, in a fixed order and a page of a megabyte at a time, however much it is. What is noted or taken
// out meanwhile may or may not be among it.
func (l *Ledger) Outbox(ctx context.Context) iter.Seq2[job.Notice, error] {
	return func(yield func(job.Notice, error) bool) {
		for i, err := range each[noticeItem](ctx, l, l.tables.Jobs, "feed = :outbox", item{":outbox": str(outboxItems)}) {
			var n job.Notice
			if err == nil {
				n, err = i.notice()
			}
			if !yield(n, wrap(err, "ledger: outbox")) || err != nil {
				return
			}
		}
	}
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
