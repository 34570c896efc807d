package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEachNameInADaysFolderIsReadOrKeepsTheDayWaitingOrHasNothingToRead is what becomes of an object by its key and size.
func TestEachNameInADaysFolderIsReadOrKeepsTheDayWaitingOrHasNothingToRead(t *testing.T) {
	const reads, waits, nothing, elsewhere = "read", "the day waits", "nothing to read", "in no day's folder"
	day := ID{"flights", "2013-01-01"}
	for _, c := range []struct {
		key   string
		bytes int64
		want  string
	}{
		{"flights/2013-01-01/a.csv", 1, reads},
		{"flights/2013-01-01/a.csv", 0, reads}, // it counts where files are counted
		{"flights/2013-01-01/a b+c=d@e,f(g)~h-i_j.csv.gz", 1, reads},
		{"flights/2013-01-01/café.csv", 1, reads},
		{"flights/2013-01-01/_COMPLETE", 0, reads},
		{"flights/2013-01-01/_COMPLETE", 9, reads}, // what a marker holds is of no interest
		{"flights/2013-01-01/per%20cent.csv", 1, waits},
		{"flights/2013-01-01/a#b.csv", 1, waits},
		{"flights/2013-01-01/it's.csv", 1, waits},
		{"flights/2013-01-01/a[1].csv", 1, waits},
		{"flights/2013-01-01/a*.csv", 1, waits},
		{`flights/2013-01-01/a\b.csv`, 1, waits},
		{"flights/2013-01-01/a\nb.csv", 1, waits},
		{"flights/2013-01-01/_part-1.csv", 1, waits}, // Spark would not read it
		{"flights/2013-01-01/.part-1.csv", 1, waits},
		{"flights/2013-01-01/.part-1.csv.crc", 8, waits}, // whoever copies from HDFS takes them away, or releases the day
		{"flights/2013-01-01/_complete", 1, waits},
		{"flights/2013-01-01/_COMPLETE.txt", 1, waits},
		{"flights/2013-01-01/_SUCCESS", 0, nothing}, // as Hadoop's writers leave it
		{"flights/2013-01-01/_complete", 0, nothing},
		{"flights/2013-01-01/a#b.csv", 0, nothing},
		{"flights/2013-01-01/", 0, nothing}, // folders of consoles
		{"flights/2013-01-01/more/", 0, nothing},
		{"flights/2013-01-01/", 1, waits}, // S3 lets an object with content have such a key
		{"flights/2013-01-01/more/a.csv", 1, waits},
		{"flights/2013-01-01//a.csv", 1, waits},
		{"flights/2013-01-01/../2013-01-02/a.csv", 1, waits}, // S3 resolves nothing
		{"flights/2013-01-01/_temporary/0/a.csv", 1, waits},  // until its writer takes it away
		{"flights/2013-01-01/" + strings.Repeat("x", 1006), 1, waits},
		{"flights/2013-01-01", 1, elsewhere},
		{"flights/2013-13-01/a.csv", 1, elsewhere},
		{"flights/a.csv", 1, elsewhere},
		{"Flights/2013-01-01/a.csv", 1, elsewhere},
		{"/flights/2013-01-01/a.csv", 1, elsewhere},
	} {
		f := File{Key: c.key, Bytes: c.bytes}
		id, in := DayOf(c.key)
		_, _, err := ParseKey(c.key)
		got := nothing
		switch unread := UnreadOf([]File{f}); {
		case !in:
			got = elsewhere
		case id != day:
			t.Errorf("%q is of %s", c.key, id)
		case err == nil:
			got = reads
		case unread.ID != "":
			got = waits
		}
		if got != c.want {
			t.Errorf("%q with %d bytes: %s, not %s", c.key, c.bytes, got, c.want)
		}
	}
}

func TestWhatCannotBeReadIsNamedWithItsReasonAndKnownByItsKeys(t *testing.T) {
	objects := func(names ...string) (all []File) {
		for _, name := range names {
			all = append(all, File{Key: "a/2013-01-01/" + name, Bytes: 1})
		}
		return all
	}
	one := UnreadOf(objects("b.csv", "a#b.csv"))
	if want := `1 object of the day cannot be read: "a/2013-01-01/a#b.csv": the name "a#b.csv" has the character '#': use letters, digits and any of - _ . + = @ , ( ) ~ and space; put files at <feed>/<yyyy-mm-dd>/<file>`; one.Text != want {
		t.Errorf("got  %s\nwant %s", one.Text, want)
	}
	if again := UnreadOf(objects("a#b.csv", "c.csv")); again.ID != one.ID {
		t.Errorf("files that are read make a difference: %q and %q", again.ID, one.ID)
	}
	if other := UnreadOf(objects("a#b.csv", "a#c.csv")); other.ID == one.ID || !strings.HasPrefix(other.Text, "2 objects of the day") {
		t.Errorf("another file makes no difference: %+v", other)
	}
	var many []string
	for n := range 1000 {
		many = append(many, fmt.Sprint(strings.Repeat("#", 900), n))
	}
	if u := UnreadOf(objects(many...)); len([]rune(u.Text)) != unreadRunes {
		t.Errorf("%d characters", len([]rune(u.Text)))
	}
	if u := UnreadOf(objects("#1", "#2", "#3", "#4", "#5")); !strings.HasSuffix(u.Text, "; and 2 more") {
		t.Errorf("got %s", u.Text)
	}
	sorted := UnreadOf(objects(many...))
	slices.Reverse(many)
	if UnreadOf(objects(many...)) != sorted {
		t.Error("another order of the same objects is something else")
	}
}

func TestDayWaitsForWhatCannotBeReadUntilSomebodyGoesOnWithoutIt(t *testing.T) {
	lacks := func(j Job) Job { j.Unread = Unread{"1", "1 object of the day cannot be read"}; return j }
	for name, c := range map[string]struct {
		job  Job
		want State
	}{
		"waiting":            {lacks(in(Waiting, "a", d1)), Blocked},
		"ready":              {lacks(in(Ready, "a", d1)), Blocked},
		"waived":             {func() Job { j := lacks(in(Waiting, "a", d1)); j.Waived = "1"; return j }(), Ready},
		"another one waived": {func() Job { j := lacks(in(Waiting, "a", d1)); j.Waived = "0"; return j }(), Blocked},
		"begun to publish":   {func() Job { j := lacks(in(Waiting, "a", d1)); j.Commit = Commit{1, 1, Committing}; return j }(), Ready},
		"a restatement": {func() Job {
			j := lacks(in(Waiting, "a", d1))
			j.Revision, j.Commit = 2, Commit{1, 1, Committed}
			return j
		}(), Blocked},
		"all objects are gone": {func() Job { j := in(Blocked, "a", d1); j.Reason, j.Waived = "1 object", "1"; return j }(), Ready},
	} {
		got := Plan(example(c.job))
		if len(got) == 0 || got[0].To != c.want || got[0].Alert || c.want == Blocked && got[0].Reason != c.job.Unread.Text {
			t.Errorf("%s: %+v, not %s", name, got, c.want)
		}
	}
	blocked := lacks(in(Blocked, "a", d1))
	blocked.Revision = 1
	if _, err := blocked.Apply(Act{Verb: Release, By: "ann", At: at(noon)}, ""); err == nil || err.Error() != "job a/2013-01-01: say why the day goes on without what cannot be read: 1 object of the day cannot be read" {
		t.Errorf("without a reason: %v", err)
	}
	is, err := blocked.Apply(Act{Verb: Release, By: "ann", Reason: "a note of the sender", At: at(noon)}, "")
	if err != nil || is.State != Waiting || is.Waived != "1" || is.LacksFiles() || is.Acts[0].Reason != "a note of the sender" {
		t.Errorf("got %+v, %v", is, err)
	}
	if _, err := is.Apply(Act{Verb: Release, By: "ann", Reason: "again"}, ""); err == nil {
		t.Error("released twice")
	}
	held := lacks(in(Held, "a", d1))
	if is, err := held.Apply(Act{Verb: Release, By: "ann"}, ""); err != nil || !is.LacksFiles() {
		t.Errorf("the release of a hold decides about files: %+v, %v", is, err)
	}
}

func TestExplainSaysWhichObjectCannotBeReadAndWhatEndsIt(t *testing.T) {
	for state, want := range map[State]string{
		Blocked:   UnreadNext,
		Held:      UnreadNext,
		Running:   "the run was ordered before, and goes on without it: put the file under a good name, then sluice restate does the day with it",
		Succeeded: "the day is closed without it: put the file under a good name, then sluice restate does the day with it",
		Cancelled: "the day goes on without it, unless it is redriven or restated",
	} {
		j := in(state, "a", d1)
		j.Unread, j.StartedAt = Unread{"1", "1 object"}, time.Time{}
		if state == Succeeded {
			j.Commit = Commit{1, 1, Committed}
		}
		all := Explain(example(j), j.ID)
		if n := slices.IndexFunc(all, func(w Why) bool { return w.Kind == WhyUnread }); n < 0 || all[n] != (Why{WhyUnread, "1 object", want}) {
			t.Errorf("%s: %+v", state, all)
		}
	}
}
