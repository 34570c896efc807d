package job

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestActsChangeWhatTheyMayAndAreRefusedElsewhere(t *testing.T) {
	const last = d2
	all := []State{Waiting, Ready, Running, Succeeded, Failed, Dead, Blocked, Held, Cancelled}
	allowed := map[Verb]map[State]State{
		Hold:    {Waiting: Held, Ready: Held, Blocked: Held},
		Release: {Held: Waiting},
		Redrive: {Failed: Waiting, Dead: Waiting, Cancelled: Waiting},
		Restate: {Succeeded: Waiting},
		Retract: {Waiting: Cancelled, Ready: Cancelled, Blocked: Cancelled, Failed: Cancelled, Dead: Cancelled, Held: Cancelled, Cancelled: Cancelled,
			Succeeded: Waiting}, // until a run has emptied the day's tables
		Cancel: {Waiting: Cancelled, Ready: Cancelled, Blocked: Cancelled, Failed: Cancelled, Dead: Cancelled, Held: Cancelled,
			Running: Running}, // until its engine says that the run ended
	}
	for verb, states := range allowed {
		for _, from := range all {
			was := in(from, "a", d3)
			was.Revision = 1
			is, err := was.Apply(Act{Verb: verb, By: "ann", Reason: "why", At: at(noon)}, last)
			want, ok := states[from]
			if (err == nil) != ok {
				t.Errorf("%s of a %s job: %v", verb, from, err)
				continue
			}
			if err != nil {
				if !reflect.DeepEqual(is, was) && verb != Restate {
					t.Errorf("a refused %s changed a %s job: %+v", verb, from, is)
				}
				continue
			}
			if is.State != want || len(is.Acts) != 1 || is.Acts[0].By != "ann" || from != Running && is.Reason != string(verb)+" by ann: why" {
				t.Errorf("%s of a %s job: %+v", verb, from, is)
			}
			if from != want && !from.CanBecome(want) {
				t.Errorf("%s takes a job from %s to %s, which is no legal transition", verb, from, want)
			}
		}
	}
}

func TestRestatementIsANewRevisionWithReasonAndAuthor(t *testing.T) {
	was := Job{ID: ID{"a", d1}, State: Succeeded, Revision: 1, Token: 4, Exported: new(int64), Commit: Commit{4, 1, Committed}}
	act := Act{Verb: Restate, By: "ann", Reason: "late file", At: at(noon)}
	is, err := was.Apply(act, d2)
	want := was
	want.State, want.Revision, want.Opened = Waiting, 2, 4 // BigQuery keeps the revision before
	want.Reason, want.Acts = "restate by ann: late file", []Act{act}
	if err != nil || !reflect.DeepEqual(is, want) {
		t.Errorf("got  %+v, %v\nwant %+v", is, err, want)
	}
	for _, a := range []Act{{Verb: Restate, By: "ann"}, {Verb: Restate, Reason: "late"}} {
		if _, err := was.Apply(a, d2); err == nil {
			t.Errorf("%+v is accepted", a)
		}
	}
}

func TestNextAttemptIsMadeAtOnceWhenSomebodySaysSo(t *testing.T) {
	j := in(Waiting, "a", d1)
	j.Revision, j.Token, j.Opened, j.RetryAt, j.Trouble = 1, 2, 0, at(noon).Add(time.Hour), "no memory"
	is, err := j.Apply(Act{Verb: Redrive, By: "ann"}, "")
	if err != nil || is.State != Waiting || is.Attempts() != 0 || !is.RetryAt.IsZero() || is.Trouble != "" {
		t.Fatalf("got %+v, %v", is, err)
	}
	if got := Plan(example(is)); len(got) != 1 || got[0].To != Ready {
		t.Errorf("planned %+v", got)
	}
}

func TestEarlierDayNeedsARestatementBeforeItCanGoOn(t *testing.T) {
	for _, from := range []State{Held, Failed, Dead, Cancelled} {
		j := in(from, "a", d1)
		j.Revision = 1
		for _, verb := range []Verb{Release, Redrive} {
			if _, err := j.Apply(Act{Verb: verb, By: "ann"}, d2); err == nil {
				t.Errorf("%s of a %s day before the last one is accepted", verb, from)
			}
		}
		if is, err := j.Apply(Act{Verb: Restate, By: "ann", Reason: "why"}, d2); err != nil || is.Revision != 2 || is.State != Waiting {
			t.Errorf("restating a %s day: %+v, %v", from, is, err)
		}
	}
}

func TestWhatBeganToPublishIsNotCancelled(t *testing.T) {
	for _, from := range []State{Running, Waiting, Dead} {
		j := in(from, "a", d1)
		j.Commit = Commit{1, 1, Committing}
		if _, err := j.Apply(Act{Verb: Cancel, By: "ann"}, ""); err == nil || !strings.Contains(err.Error(), "has begun to publish") {
			t.Errorf("%s: %v", from, err)
		}
	}
}

func TestRunIsCancelledOnceAndNotWhenItHasPublished(t *testing.T) {
	published := in(Running, "a", d1)
	published.Revision, published.Commit = 2, Commit{2, 2, Committed}
	ending := in(Running, "a", d1)
	ending.Token, ending.Cancel = 3, "cancel by bob"
	for want, j := range map[string]Job{
		"job a/2013-01-01 has published its day: there is nothing left to cancel; sluice restate does the day again": published,
		"job a/2013-01-01: run 3 is being ended already: cancel by bob":                                              ending,
	} {
		if is, err := j.Apply(Act{Verb: Cancel, By: "ann"}, ""); err == nil || err.Error() != want || !reflect.DeepEqual(is, j) {
			t.Errorf("%+v, %v, not %s", is, err, want)
		}
	}
}

func TestCancelledRestatementLeavesTheDayClosed(t *testing.T) {
	j := in(Waiting, "a", d1)
	j.Revision, j.Commit = 2, Commit{1, 1, Committed}
	is, err := j.Apply(Act{Verb: Cancel, By: "ann"}, d1)
	if err != nil || is.State != Cancelled || !is.Done() {
		t.Errorf("got %+v, %v", is, err)
	}
	if _, err := is.Apply(Act{Verb: Redrive, By: "ann"}, d1); err == nil || !strings.HasSuffix(err.Error(), "is of a closed day: sluice restate does it again") {
		t.Errorf("redrive: %v", err)
	}
	b := example(is, in(Waiting, "b", d1))
	if got := Plan(b); len(got) != 1 || got[0].To != Ready {
		t.Errorf("what waits for the day does not go on: %+v", got)
	}
}

func TestBackfillChoosesWhatADayNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		job  Job
		last Day
		verb Verb
		why  string
	}{
		"closed":                    {Job{State: Succeeded}, d3, Restate, ""},
		"dead":                      {Job{State: Dead}, "", Redrive, ""},
		"failed":                    {Job{State: Failed}, "", Redrive, ""},
		"late day held by the rule": {Job{State: Held}, d3, Restate, ""},
		"held by somebody":          {Job{State: Held}, "", "", "is held already"},
		"runs":                      {Job{State: Running}, "", "", "is running already"},
		"waits":                     {Job{State: Waiting}, "", "", "is waiting already"},
		"waits for an attempt":      {Job{State: Waiting, RetryAt: at(noon)}, "", Redrive, ""},
	} {
		c.job.ID, c.job.Revision = ID{"a", d1}, 1
		if verb, why := c.job.Backfill(c.last); verb != c.verb || why != c.why {
			t.Errorf("%s: %q %q", name, verb, why)
		}
	}
}

func TestEndOfARunDecides(t *testing.T) {
	when := at(noon)
	run := Run{ID: ID{"a", d1}, Token: 3, Reason: "out of memory", FinishedAt: when}
	running := Job{ID: run.ID, State: Running, Token: 3, Revision: 1, Opened: 2}
	change := func(f func(*Job)) Job { j := running; f(&j); return j }
	for name, c := range map[string]struct {
		job     Job
		useless bool
		to      State
		run     RunState
		retry   time.Duration
		notice  NoticeType
		quiet   bool
	}{
		"published": {change(func(j *Job) { j.Commit = Commit{3, 1, Committed} }), true, Succeeded, RunSucceeded, 0, NoticeSucceeded, false},
		"published although somebody cancelled it": {change(func(j *Job) { j.Commit, j.Cancel = Commit{3, 1, Committed}, "x" }), false,
			Succeeded, RunSucceeded, 0, NoticeSucceeded, false},
		"published another revision": {change(func(j *Job) { j.Commit, j.Revision = Commit{1, 1, Committed}, 2 }), false, Waiting, RunFailed, time.Minute, NoticeRetry, false},
		"first attempt":              {running, false, Waiting, RunFailed, time.Minute, NoticeRetry, false},
		"second attempt":             {change(func(j *Job) { j.Opened = 1 }), false, Waiting, RunFailed, 2 * time.Minute, NoticeRetry, true},
		"last attempt":               {change(func(j *Job) { j.Opened = 0 }), false, Dead, RunFailed, 0, NoticeDead, false},
		"useless":                    {running, true, Failed, RunFailed, 0, NoticeFailed, false},
		"useless while publishing":   {change(func(j *Job) { j.Commit = Commit{3, 1, Committing} }), true, Waiting, RunFailed, time.Minute, NoticeRetry, false},
		"cancelled":                  {change(func(j *Job) { j.Cancel = "cancel by ann" }), false, Cancelled, RunCancelled, 0, NoticeCancelled, false},
		"cancelled while publishing": {change(func(j *Job) { j.Cancel, j.Commit = "x", Commit{3, 1, Committing} }), false, Waiting, RunFailed, time.Minute, NoticeRetry, false},
	} {
		e := c.job.End(run, Feed{}, c.useless)
		told := e.Notices[len(e.Notices)-1]
		if e.To != c.to || e.Run.State != c.run || told.Type != c.notice || told.Quiet != c.quiet || told.Reason != e.Reason {
			t.Errorf("%s: %+v", name, e)
		}
		if want := when.Add(c.retry); c.retry > 0 && !e.RetryAt.Equal(want) || c.retry == 0 && !e.RetryAt.IsZero() {
			t.Errorf("%s: tried again at %s", name, e.RetryAt)
		}
		if !running.State.CanBecome(e.To) {
			t.Errorf("%s: %s is no state after running", name, e.To)
		}
	}
}

func TestFeedSaysHowManyAttemptsAJobHas(t *testing.T) {
	run := Run{Token: 1, FinishedAt: at(noon)}
	if e := (Job{State: Running, Token: 1}).End(run, Feed{Attempts: 1}, false); e.To != Dead {
		t.Errorf("one attempt: %s", e.To)
	}
}

func TestBackoffDoublesUpToAnHour(t *testing.T) {
	for n, want := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 3: 4 * time.Minute, 6: 32 * time.Minute, 7: time.Hour, 99: time.Hour} {
		if got := Backoff(n); got != want {
			t.Errorf("after %d attempts: %s", n, got)
		}
	}
}

func TestRunIsOverdueAfterItsLimitAndSaysSoOnce(t *testing.T) {
	j := Job{ID: ID{"a", d1}, State: Running, Token: 2, StartedAt: at(noon)}
	j.Sizing.Bytes = 60e9 // twenty minutes of work, and one to start
	waiting, told := j, j
	waiting.State, told.Reason = Waiting, "run 2 has not ended"
	for _, c := range []struct {
		job   Job
		feed  Feed
		after time.Duration
		want  string
	}{
		{j, Feed{}, 144*time.Minute - time.Second, ""},
		{j, Feed{}, 144 * time.Minute, "run 2 has not ended within 144 minutes, the limit for this day"},
		{j, Feed{Timeout: 30 * time.Minute}, 30*time.Minute - time.Second, ""},
		{j, Feed{Timeout: 30 * time.Minute}, 30 * time.Minute, "run 2 has not ended within 30 minutes, the limit for this day"},
		{told, Feed{}, 24 * time.Hour, ""},
		{waiting, Feed{}, 24 * time.Hour, ""},
	} {
		if got := c.job.Overdue(c.feed, at(noon).Add(c.after)); got != c.want {
			t.Errorf("%s after %s: %q, not %q", c.job.State, c.after, got, c.want)
		}
	}
}

func TestRetractionOfAPublishedDayIsARevisionThatEmptiesIt(t *testing.T) {
	was := Job{ID: ID{"a", d3}, State: Succeeded, Revision: 1, Token: 4, Opened: 3, Commit: Commit{4, 1, Committed}}
	act := Act{Verb: Retract, By: "ann", Reason: "mistyped", At: at(noon)}
	is, err := was.Apply(act, d3)
	want := was
	want.State, want.Revision, want.Opened, want.Retract = Waiting, 2, 4, true
	want.Reason, want.Acts = "retract by ann: mistyped", []Act{act}
	if err != nil || !reflect.DeepEqual(is, want) {
		t.Fatalf("got  %+v, %v\nwant %+v", is, err, want)
	}
	if is.Done() || is.TakenBack() || !is.Readable() || !is.Exportable() {
		t.Errorf("before its run: done %v, taken back %v, readable %v, exportable %v", is.Done(), is.TakenBack(), is.Readable(), is.Exportable())
	}

	// Its run publishes.
	is.State, is.Token, is.Commit = Running, 5, Commit{5, 2, Committed}
	e := is.End(Run{ID: is.ID, Token: 5, FinishedAt: at(noon)}, Feed{}, false)
	if e.To != Cancelled || e.Run.State != RunSucceeded || e.Reason != "retract by ann: mistyped" || e.Retracted != 2 || len(e.Notices) != 1 || e.Notices[0].Type != NoticeSucceeded {
		t.Errorf("its end: %+v", e)
	}
	is.State, is.Retract, is.Retracted = Cancelled, false, 2
	if is.Done() || !is.TakenBack() || is.Readable() || !is.Exportable() || !is.Unexported() {
		t.Errorf("afterwards: done %v, taken back %v, readable %v, exportable %v", is.Done(), is.TakenBack(), is.Readable(), is.Exportable())
	}
	for mark, void := range map[int64]bool{0: false, 1: true, 2: true, 3: false} {
		if got := is.Void(File{Retracted: mark}); got != void {
			t.Errorf("a file with mark %d is void: %v", mark, got)
		}
	}
	for verb, text := range map[Verb]string{Redrive: "was retracted: deliver the day again", Restate: "was retracted: deliver the day again", Retract: "was retracted already", Cancel: "there is nothing to cancel"} {
		if _, err := is.Apply(Act{Verb: verb, By: "ann", Reason: "why"}, ""); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s of a retracted day: %v", verb, err)
		}
	}
	if verb, why := is.Backfill(""); verb != "" || why != "was retracted, and not delivered again" {
		t.Errorf("backfill: %q %q", verb, why)
	}
}

func TestRetractionIsRefusedWhileARunCouldPublish(t *testing.T) {
	for text, j := range map[string]Job{
		"job a/2013-01-01 runs: sluice cancel ends its run, then retract the day":                            {State: Running},
		"job a/2013-01-01 has begun to publish, and is finished: retract the day afterwards":                 {State: Dead, Commit: Commit{1, 1, Committing}},
		"job a/2013-01-01 is being retracted already, and is waiting: sluice explain says what it waits for": {State: Waiting, Retract: true, Commit: Commit{1, 1, Committed}},
		"job a/2013-01-01 was retracted already: what came since is not complete, and nothing waits for it":  {State: Cancelled, Revision: 2, Retracted: 2},
	} {
		j.ID = ID{"a", d1}
		is, err := j.Apply(Act{Verb: Retract, By: "ann", Reason: "why"}, "")
		if err == nil || err.Error() != text || !reflect.DeepEqual(is, j) {
			t.Errorf("%+v, %v; want %s", is, err, text)
		}
	}
}

func TestCancelledRetractionLeavesTheDayAndItsFiles(t *testing.T) {
	j := Job{ID: ID{"a", d1}, State: Waiting, Revision: 2, Retract: true, Commit: Commit{1, 1, Committed}}
	is, err := j.Apply(Act{Verb: Cancel, By: "ann"}, d1)
	if err != nil || is.State != Cancelled || !is.Done() || is.Retract || is.Void(File{Retracted: 2}) {
		t.Errorf("%+v, %v", is, err)
	}
	again, err := is.Apply(Act{Verb: Restate, By: "ann", Reason: "why"}, d1)
	if err != nil || again.Retract || again.Revision != 3 {
		t.Errorf("restated: %+v, %v", again, err)
	}
}

func TestDayWithoutAJobIsGivenUpByItsFirstAct(t *testing.T) {
	for verb, retracted := range map[Verb]int64{Cancel: 0, Retract: 1} {
		act := Act{Verb: verb, By: "ann", Reason: "upload broke", At: at(noon)}
		j, err := GivenUp(ID{"a", d1}, act)
		want := Job{ID: ID{"a", d1}, State: Cancelled, Revision: 1, Retracted: retracted, Reason: string(verb) + " by ann: upload broke", Acts: []Act{act}, CreatedAt: at(noon)}
		if err != nil || !reflect.DeepEqual(j, want) || j.TakenBack() != (verb == Retract) {
			t.Errorf("%+v, %v", j, err)
		}
	}
	if _, err := GivenUp(ID{"a", d1}, Act{Verb: Retract, By: "ann"}); err == nil {
		t.Error("a retraction without a reason is accepted")
	}
}
