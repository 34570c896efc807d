// Package ledger keeps feeds, jobs, runs and files in a country's five DynamoDB tables.
//
// Every change is one conditional write that names the state, and the token, it was decided on; what has to change together (a job
// and its slot, a job and the notice that tells of it) is one transaction. Reads that decide something are consistent. The rules
// themselves are in package job.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/job"
)

var (
	// ErrNoJob is the answer for a job that the ledger does not have.
	ErrNoJob = errors.New("no such job")
	// ErrChanged refuses a change that was decided on a state that is not the present one. Read again and decide anew.
	ErrChanged = errors.New("changed meanwhile")
)

// slotsItem is the item in the progress table that names the jobs which hold a slot: as many as may run at once.
const slotsItem = "#slots"

// Names in the jobs table that are no feeds: what else there is one of for many a job. Each is an item of its own, so that none grows, and
// all of a name are found with one query. No feed's name has a #.
const (
	openItems   = "#open"   // openItems are the jobs that have not ended, by their ids.
	outboxItems = "#outbox" // outboxItems are the notices that are still to be told, by noticeKey.
)

// rejectedFiles is the key in the files table under which files without a job are kept.
const rejectedFiles = "#rejected"

// DB is the part of DynamoDB that a ledger needs; *dynamodb.Client has it.
type DB interface {
	dynamodb.QueryAPIClient
	dynamodb.ScanAPIClient
	GetItem(ctx context.Context, in *dynamodb.GetItemInput, options ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, options ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	PutItem(ctx context.Context, in *dynamodb.PutItemInput, options ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, options ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, options ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
	TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, options ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
}

// Ledger is the ledger of one country.
type Ledger struct {
	db     DB
	tables discovery.Tables

	// Pause waits before a call is repeated that DynamoDB refused for others: the attempt is 1 before the first repetition. It returns the
	// context's error when that ends first. Tests that play millions of calls replace it.
	Pause func(ctx context.Context, attempt int) error
}

// New opens a ledger. It does not touch the network.
func New(db DB, tables discovery.Tables) *Ledger {
	return &Ledger{db: db, tables: tables, Pause: pause}
}

type item = map[string]types.AttributeValue

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func num(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: fmt.Sprint(n)}
}

func set(s string) types.AttributeValue { return &types.AttributeValueMemberSS{Value: []string{s}} }

// besideJobs is the key of an item in the jobs table that is no job.
func besideJobs(name, key string) item { return item{"feed": str(name), "day": str(key)} }

func jobKey(id job.ID) item { return item{"feed": str(id.Feed), "day": str(string(id.Day))} }

func runKey(id job.ID, token int64) item { return item{"job": str(id.String()), "token": num(token)} }

// read returns one item, consistently, or nil.
func (l *Ledger) read(ctx context.Context, table string, key item) (item, error) {
	got, err := l.db.GetItem(ctx, &dynamodb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		return nil, err
	}
	return got.Item, nil
}

// get reads one item into out; it tells whether there is one.
func (l *Ledger) get(ctx context.Context, table string, key item, out any) (bool, error) {
	i, err := l.read(ctx, table, key)
	if err != nil || i == nil {
		return false, err
	}
	return true, attributevalue.UnmarshalMap(i, out)
}

// each reads the items of one hash key, consistently and a page of a megabyte at a time.
func each[T any](ctx context.Context, l *Ledger, table, condition string, values item) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		pages := dynamodb.NewQueryPaginator(l.db, &dynamodb.QueryInput{
			TableName: &table, KeyConditionExpression: &condition, ExpressionAttributeValues: values, ConsistentRead: aws.Bool(true),
			ExpressionAttributeNames: namesIn(condition),
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, i := range page.Items {
				var one T
				if err := attributevalue.UnmarshalMap(i, &one); !yield(one, err) || err != nil {
					return
				}
			}
		}
	}
}

// query reads all items of one hash key, consistently.
func query[T any](ctx context.Context, l *Ledger, table, condition string, values item) ([]T, error) {
	var all []T
	for one, err := range each[T](ctx, l, table, condition, values) {
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// scan reads a whole table.
func scan[T any](ctx context.Context, l *Ledger, table string) ([]T, error) {
	var all []T
	pages := dynamodb.NewScanPaginator(l.db, &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		var items []T
		if err := attributevalue.UnmarshalListOfMaps(page.Items, &items); err != nil {
			return nil, err
		}
		all = append(all, items...)
	}
	return all, nil
}

// batchGet reads items of one table by key, consistently. Keys must be distinct.
func batchGet[T any](ctx context.Context, l *Ledger, table string, keys []item) ([]T, error) {
	var all []T
	for len(keys) > 0 {
		n := min(len(keys), 100) // the limit of one call
		ask := map[string]types.KeysAndAttributes{table: {Keys: keys[:n], ConsistentRead: aws.Bool(true)}}
		keys = keys[n:]
		for attempt := 0; len(ask) > 0; attempt++ {
			if attempt > 0 {
				if err := l.Pause(ctx, attempt); err != nil {
					return nil, err
				}
			}
			got, err := l.db.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: ask})
			if err != nil {
				return nil, err
			}
			var items []T
			if err := attributevalue.UnmarshalListOfMaps(got.Responses[table], &items); err != nil {
				return nil, err
			}
			all = append(all, items...)
			ask = got.UnprocessedKeys
		}
	}
	return all, nil
}

// change is one conditional update, or the removal of an item.
type change struct {
	table     string
	key       item
	update    string
	remove    bool
	condition string
	names     map[string]string // placeholders beyond those of words
	values    item
}

// conflictRetries is how often a write is repeated that DynamoDB refuses because another one touches the same item at that moment.
const conflictRetries = 8

// retried makes a write, and repeats it while it meets a transaction that touches the same item. DynamoDB refuses a transaction then with a
// reason of its own, and a single PutItem, UpdateItem or DeleteItem with TransactionConflictException, which the SDK does not repeat; reads
// other than TransactGetItems, which nothing here uses, are never refused for it.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
func (l *Ledger) retried(ctx context.Context, write func() error) error {
	for attempt := 0; ; attempt++ {
		if attempt > 0 {
			if err := l.Pause(ctx, attempt); err != nil {
				return err
			}
		}
		if err := write(); attempt == conflictRetries || !isConflict(err) {
			return err
		}
	}
}

// isConflict reports whether a write had no effect only because of another one at that moment, or because too many came at once.
func isConflict(err error) bool {
	if conflict := (*types.TransactionConflictException)(nil); errors.As(err, &conflict) {
		return true
	}
	cancelled := (*types.TransactionCanceledException)(nil)
	if !errors.As(err, &cancelled) {
		return false // the SDK repeats calls that are throttled
	}
	found := false
	for _, reason := range cancelled.CancellationReasons {
		switch aws.ToString(reason.Code) {
		case "ConditionalCheckFailed":
			return false
		case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
			found = true
		}
	}
	return found
}

// part is a change as a part of a transaction.
func (c change) part() types.TransactWriteItem {
	if c.remove {
		return types.TransactWriteItem{Delete: &types.Delete{
			TableName: &c.table, Key: c.key, ConditionExpression: optional(c.condition), ExpressionAttributeNames: c.allNames(), ExpressionAttributeValues: c.values,
		}}
	}
	return types.TransactWriteItem{Update: &types.Update{
		TableName: &c.table, Key: c.key, UpdateExpression: &c.update, ConditionExpression: optional(c.condition),
		ExpressionAttributeNames: c.allNames(), ExpressionAttributeValues: c.values,
	}}
}

// write does one change. A failed condition is ErrChanged; a conflict with a transaction is tried again.
func (l *Ledger) write(ctx context.Context, c change) error {
	if c.remove {
		in := &dynamodb.DeleteItemInput{
			TableName: &c.table, Key: c.key, ConditionExpression: optional(c.condition), ExpressionAttributeNames: c.allNames(), ExpressionAttributeValues: c.values,
		}
		return unmet(l.retried(ctx, func() error {
			_, err := l.db.DeleteItem(ctx, in)
			return err
		}))
	}
	in := &dynamodb.UpdateItemInput{
		TableName: &c.table, Key: c.key, UpdateExpression: &c.update, ConditionExpression: optional(c.condition),
		ExpressionAttributeNames: c.allNames(), ExpressionAttributeValues: c.values,
	}
	return unmet(l.retried(ctx, func() error {
		_, err := l.db.UpdateItem(ctx, in)
		return err
	}))
}

// unmet makes ErrChanged of a condition that does not hold.
func unmet(err error) error {
	if failed := (*types.ConditionalCheckFailedException)(nil); errors.As(err, &failed) {
		return ErrChanged
	}
	if cancelled := (*types.TransactionCanceledException)(nil); errors.As(err, &cancelled) {
		for _, reason := range cancelled.CancellationReasons {
			if aws.ToString(reason.Code) == "ConditionalCheckFailed" {
				return ErrChanged
			}
		}
	}
	return err
}

// transact does several conditional writes as one. A failed condition is ErrChanged; a conflict with another write is tried again.
func (l *Ledger) transact(ctx context.Context, changes ...change) error {
	if len(changes) == 1 {
		return l.write(ctx, changes[0])
	}
	in := &dynamodb.TransactWriteItemsInput{}
	for _, c := range changes {
		in.TransactItems = append(in.TransactItems, c.part())
	}
	return unmet(l.retried(ctx, func() error {
		_, err := l.db.TransactWriteItems(ctx, in)
		return err
	}))
}

// pause is longer before each attempt, and never as long as that of the others that were refused with us.
func pause(ctx context.Context, attempt int) error {
	limit := 20 * time.Millisecond << min(attempt, 6)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(limit)): //nolint:gosec // not a secret
		return nil
	}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
