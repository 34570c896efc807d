package ledger

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
)

func TestNoRunStartsThatWouldLeaveOutWhatCannotBeRead(t *testing.T) {
	l, db := open(t)
	unread := job.Unread{ID: "1", Text: "1 object of the day cannot be read"}
	if created, err := l.Create(t.Context(), flights, sizing.Decision{}, unread, now); err != nil || !created {
		t.Fatalf("create: %v, %v", created, err)
	}
	if j := get(t, l, flights); j.Unread != unread {
		t.Errorf("got %+v", j.Unread)
	}
	move(t, l, flights, job.Ready) // decided by somebody who did not know
	run := job.Run{ID: flights, Token: 1, StartedAt: now}
	if err := l.Start(t.Context(), run, 5); !errors.Is(err, ErrChanged) {
		t.Fatalf("start: %v", err)
	}
	was, is := apply(t, l, flights, job.Release)
	other := job.Unread{ID: "2", Text: "2 objects of the day cannot be read"}
	if err := l.SaveUnread(t.Context(), flights, unread, other); err != nil {
		t.Fatal(err)
	}
	if err := l.Act(t.Context(), was, is); !errors.Is(err, ErrChanged) {
		t.Errorf("somebody goes on without an object that came meanwhile: %v", err)
	}
	act(t, l, flights, job.Release)
	move(t, l, flights, job.Ready)
	if err := l.SaveUnread(t.Context(), flights, unread, job.Unread{}); !errors.Is(err, ErrChanged) {
		t.Errorf("a look that was overtaken counts: %v", err)
	}
	if err := l.Start(t.Context(), run, 5); err != nil {
		t.Errorf("released, and not started: %v", err)
	}
	finish(t, l, run, job.RunFailed, "x")
	if err := l.SaveUnread(t.Context(), flights, other, unread); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		before func()
		starts bool
	}{
		{"another object", func() {}, false},
		{"none any more", func() {
			if err := l.SaveUnread(t.Context(), flights, unread, job.Unread{}); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"what began to publish", func() {
			if err := l.SaveUnread(t.Context(), flights, job.Unread{}, unread); err != nil {
				t.Fatal(err)
			}
			emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"commitState": str("committing"), "commitToken": num(1)})
		}, true},
	} {
		j := get(t, l, flights)
		if err := l.Reopen(t.Context(), j, sizing.Decision{}, "anew"); err != nil {
			t.Fatal(err)
		}
		move(t, l, flights, job.Ready)
		c.before()
		r := job.Run{ID: flights, Token: j.Token + 1, StartedAt: now}
		err := l.Start(t.Context(), r, 5)
		if c.starts != (err == nil) || err != nil && !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			finish(t, l, r, job.RunFailed, "x")
		} else if err := l.Move(t.Context(), job.Decision{ID: flights, From: job.Ready, To: job.Held, Token: j.Token}, now); err != nil {
			t.Fatal(err)
		} else {
			emulator.Set(t, db, l.tables.Jobs, jobKey(flights), map[string]types.AttributeValue{"state": str("failed")})
		}
	}
	if err := l.SaveUnread(t.Context(), job.ID{Feed: "flights", Day: "2013-02-01"}, job.Unread{}, unread); !errors.Is(err, ErrChanged) {
		t.Errorf("a day without a job: %v", err)
	}
}
