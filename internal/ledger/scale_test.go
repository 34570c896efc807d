package ledger

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
)

// largest is how many attributes and set members the largest item of a table has.
func largest(t *testing.T, db database, table string) int {
	t.Helper()
	got, err := db.Scan(t.Context(), &dynamodb.ScanInput{TableName: &table, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	most := 0
	for _, i := range got.Items {
		size := len(i)
		for _, v := range i {
			if set, is := v.(*types.AttributeValueMemberSS); is {
				size += len(set.Value)
			}
		}
		most = max(most, size)
	}
	return most
}

func TestNoItemGrowsWithTheNumberOfOpenJobsOrNotices(t *testing.T) {
	l, db := open(t)
	sizes := func() [2]int { return [2]int{largest(t, db, l.tables.Progress), largest(t, db, l.tables.Jobs)} }
	day := job.Day("2013-01-01")
	var first [2]int
	for n := range 40 {
		id := job.ID{Feed: "flights", Day: day}
		create(t, l, id)
		if err := l.Move(t.Context(), job.Decision{ID: id, From: job.Waiting, To: job.Blocked, Reason: "prerequisite airports did not come", Alert: true}, now); err != nil {
			t.Fatal(err)
		}
		if day = day.Next(); n == 0 {
			first = sizes()
		}
	}
	if got := sizes(); got != first {
		t.Errorf("with 40 open jobs the largest items of progress and jobs have %v attributes and members, with one %v", got, first)
	}
	if b, err := l.Board(t.Context()); err != nil || len(b.Jobs) != 40 {
		t.Errorf("the board has %d jobs: %v", len(b.Jobs), err)
	}
	if got, err := pending(t, l); err != nil || len(got) != 40 {
		t.Errorf("%d notices: %v", len(got), err)
	}
	if all, err := l.List(t.Context()); err != nil || len(all) != 40 {
		t.Errorf("people see %d jobs: %v", len(all), err)
	}
}

func TestJobThatEndedIsOpenNoMore(t *testing.T) {
	l, _ := open(t)
	other := job.ID{Feed: "flights", Day: "2012-12-31"}
	for _, id := range []job.ID{flights, other} {
		create(t, l, id)
	}
	move(t, l, flights, job.Ready)
	finish(t, l, start(t, l, flights), job.RunSucceeded, "")
	was := get(t, l, other)
	is, err := was.Apply(job.Act{Verb: job.Cancel, By: "ann", At: now}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Act(t.Context(), was, is); err != nil {
		t.Fatal(err)
	}
	if got, err := l.open(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("open: %v, %v", got, err)
	}
	was = get(t, l, flights)
	if is, err = was.Apply(job.Act{Verb: job.Restate, By: "ann", Reason: "late", At: now}, "2013-01-09"); err != nil {
		t.Fatal(err)
	}
	if err := l.Act(t.Context(), was, is); err != nil {
		t.Fatal(err)
	}
	if got, err := l.open(t.Context()); err != nil || !slices.Equal(got, []job.ID{flights}) {
		t.Errorf("restated: %v, %v", got, err)
	}
}

// older gives a ledger what a release of before had: jobs whose ids are in one item, and their notices in another.
func older(t *testing.T, l *Ledger, db database, jobs int) (ids []job.ID, notices []job.Notice) {
	t.Helper()
	var texts []string
	outbox := item{}
	day := job.Day("2011-01-01")
	for n := range jobs {
		id := job.ID{Feed: []string{"airports", "flights", "gone"}[n%3], Day: day}
		create(t, l, id)
		if err := l.write(t.Context(), l.ended(id)); err != nil { // as the older release left it
			t.Fatal(err)
		}
		ids, texts, day = append(ids, id), append(texts, id.String()), day.Next()
		notice := job.Notice{Type: job.NoticeBlocked, ID: id, Reason: "why", At: now, Tries: n % 2, Quiet: n%4 == 0}
		notices = append(notices, notice)
		outbox[noticeKey(notice)] = &types.AttributeValueMemberM{Value: item{
			"type": str("job.blocked"), "job": str(id.String()), "token": num(0), "reason": str("why"), "at": str(stamp(now)), "tries": num(int64(notice.Tries)),
			"quiet": &types.AttributeValueMemberBOOL{Value: notice.Quiet}}}
	}
	put := func(name string, attributes item) {
		attributes = maps.Clone(attributes)
		attributes["name"] = str(name)
		if _, err := db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &l.tables.Progress, Item: attributes}); err != nil {
			t.Fatal(err)
		}
	}
	put(slotsItem, item{"open": &types.AttributeValueMemberSS{Value: texts}})
	put(oldOutboxItem, outbox)
	// What a later day of each feed closed since is not on a board by its feed.
	for _, feed := range []string{"airports", "flights"} {
		put(feed, item{"lastDay": str("2012-12-31")})
	}
	slices.SortFunc(notices, func(a, b job.Notice) int {
		return slices.Compare([]string{noticeKey(a)}, []string{noticeKey(b)})
	})
	return ids, notices
}

func TestOldLedgerIsMovedWithoutLosingAnOpenJobOrANotice(t *testing.T) {
	const jobs = 60 // more than one transaction
	died := errors.New("died")
	play := func(t *testing.T, db database, mem *emulator.Memory, at int, after bool) (calls int) {
		t.Helper()
		l := New(db, emulator.Tables(t, db, fmt.Sprintf("%s-%d-%v", t.Name(), at, after), emulator.Feed("airports"), emulator.Feed("flights")))
		want, notices := older(t, l, db, jobs)
		open := func() {
			t.Helper()
			b, err := l.Board(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range want {
				if b.Jobs[id].State != job.Waiting {
					t.Fatalf("dying at call %d: %s is not on the board", at, id)
				}
			}
		}
		open()
		if mem != nil {
			mem.Before = func() (int, error) {
				calls++
				if at > 0 && (calls > at || calls == at && !after) {
					return calls, died
				}
				return calls, nil
			}
			mem.After = func(call int) error {
				if at > 0 && call >= at {
					return died
				}
				return nil
			}
		}
		err := l.Migrate(t.Context())
		if at > 0 && !errors.Is(err, died) || at == 0 && err != nil {
			t.Fatalf("dying at call %d: %v", at, err)
		}
		if mem != nil {
			mem.Before, mem.After = func() (int, error) { return 0, nil }, func(int) error { return nil }
		}
		open()
		for range 2 { // the next tick; and another, which finds nothing
			if err := l.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		open()
		if got, err := pending(t, l); err != nil || !reflect.DeepEqual(got, notices) {
			t.Fatalf("dying at call %d: notices %+v, %v", at, got, err)
		}
		if got := largest(t, db, l.tables.Progress); got > 3 {
			t.Fatalf("an item of %d attributes and members is left", got)
		}
		return calls
	}
	if !inMemory {
		play(t, dynamodb.NewFromConfig(cfg), nil, 0, false)
		return
	}
	db := emulator.NewMemory()
	calls := play(t, db, db, 0, false)
	if calls < jobs {
		t.Fatalf("only %d calls", calls)
	}
	for at := 1; at <= calls; at++ {
		play(t, db, db, at, false)
		play(t, db, db, at, true)
	}
}

func TestJobThatEndedWhileAnOlderReleaseListedItIsNotOpen(t *testing.T) {
	l, db := open(t)
	ids, notices := older(t, l, db, 3)
	was := get(t, l, ids[0])
	is, err := was.Apply(job.Act{Verb: job.Cancel, By: "ann", At: now}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Act(t.Context(), was, is); err != nil {
		t.Fatal(err)
	}
	if err := l.Note(t.Context(), notices[1]); err != nil { // noted again since
		t.Fatal(err)
	}
	if err := l.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := l.open(t.Context()); err != nil || len(got) != 2 || slices.Contains(got, ids[0]) {
		t.Errorf("open: %v, %v", got, err)
	}
	if got, err := pending(t, l); err != nil || !reflect.DeepEqual(got, notices) {
		t.Errorf("notices: %+v, %v", got, err)
	}
	if got := largest(t, db, l.tables.Progress); got > 3 {
		t.Errorf("an item of %d attributes and members is left", got)
	}
}
