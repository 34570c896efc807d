package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluice-data/sluice/internal/emulator"
	"github.com/sluice-data/sluice/internal/job"
)

const dataKey = "airports/2013-01-01/data.csv"

// lands puts a version of a key into the landing bucket and returns its event. Sequencers are of any length: the longer one is not the
// later one.
func (s *stage) lands(key string, at time.Time, more string) job.File {
	s.version++
	f := job.File{Key: key, Bytes: int64(s.version), ETag: fmt.Sprint(s.version), VersionID: fmt.Sprint(s.version), LandedAt: at}
	s.landed[key] = f
	f.Sequencer = job.Sequencer(fmt.Sprintf("0055AED6%04X%s", s.version, more))
	return f
}

// told hands events to receive-file.
func (s *stage) told(events ...job.File) {
	s.function(func(ctx context.Context) error {
		_, faults := s.intake.Keys(ctx, events)
		return errors.Join(faults...)
	})
}

// files are what the ledger has of a day, by name.
func (s *stage) files(t interface{ Fatalf(string, ...any) }, id job.ID) map[string]job.File {
	files, err := s.ledger.Files(context.Background(), id)
	if err != nil {
		t.Fatalf("%v", err)
	}
	byName := map[string]job.File{}
	for _, f := range files {
		byName[f.Name] = f
	}
	return byName
}

func TestAnyOrderOfEventsEndsInTheSameRecord(t *testing.T) {
	quiet(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := newStage(t, 5, emulator.Feed("airports"))
		s.put("airports/2013-01-01/other.csv")
		var events []job.File
		change := func() {
			if _, there := s.landed[dataKey]; there && rapid.IntRange(0, 3).Draw(rt, "delete?") == 0 {
				delete(s.landed, dataKey)
				return
			}
			// An upload in parts has the time of its beginning.
			at := s.now.Add(-time.Duration(rapid.IntRange(0, 2).Draw(rt, "began")) * time.Second)
			events = append(events, s.lands(dataKey, at, rapid.StringMatching("[0-9a-fA-F]{0,6}").Draw(rt, "more")))
		}
		newest := 0
		for range rapid.IntRange(1, 6).Draw(rt, "changes") {
			change()
			for range rapid.IntRange(0, 3).Draw(rt, "told") {
				if rapid.Bool().Draw(rt, "meanwhile?") {
					s.meanwhile = func() { // somebody else is faster, and maybe more happens
						if rapid.Bool().Draw(rt, "change?") {
							change()
						}
						s.told(rapid.SampledFrom(events).Draw(rt, "other event"))
					}
				}
				if rapid.Bool().Draw(rt, "swept?") {
					s.sweep()
				} else {
					s.told(rapid.SampledFrom(events).Draw(rt, "event"))
				}
				version, _ := strconv.Atoi(s.files(rt, airports)["data.csv"].VersionID)
				if version < newest {
					rt.Fatalf("version %d was recorded over %d", version, newest)
				}
				newest = version
			}
		}
		for _, e := range rapid.Permutation(events).Draw(rt, "order") {
			s.told(e)
		}
		got, recorded := s.files(rt, airports)["data.csv"]
		want, there := s.landed[dataKey]
		if !there {
			if recorded && got.State != job.Removed {
				rt.Fatalf("it was deleted, but recorded is %+v", got)
			}
			return
		}
		want.ID, want.Name, want.State, want.Sequencer = airports, "data.csv", job.Landed, events[len(events)-1].Sequencer
		if !reflect.DeepEqual(got, want) {
			rt.Fatalf("recorded is\n%+v, not\n%+v", got, want)
		}
	})
}

func TestOldEventDoesNotBringBackWhatWasOverwrittenOrDeleted(t *testing.T) {
	s := twoFeeds(t)
	first := s.lands(dataKey, s.now, "")
	second := s.lands(dataKey, s.now, "") // in the same second
	s.put("airports/2013-01-01/other.csv")
	s.told(second)
	s.told(first)
	if got := s.files(t, airports)["data.csv"]; got.VersionID != second.VersionID || got.Bytes != second.Bytes || got.Sequencer != second.Sequencer {
		t.Errorf("recorded is %+v", got)
	}
	delete(s.landed, dataKey)
	s.told(first)
	s.told(second)
	if got := s.files(t, airports)["data.csv"]; got.State != job.Removed || got.Reason != "the object was deleted from the landing bucket" {
		t.Errorf("recorded is %+v", got)
	}
	s.landed[dataKey] = job.File{Key: dataKey, Bytes: first.Bytes, ETag: first.ETag, VersionID: first.VersionID, LandedAt: first.LandedAt} // for whoever takes back a version
	s.sweep()
	if got := s.files(t, airports)["data.csv"]; got.State != job.Landed || got.VersionID != first.VersionID {
		t.Errorf("recorded is %+v", got)
	}
}

func TestLookThatWasOvertakenIsTakenAgain(t *testing.T) {
	s := twoFeeds(t)
	old := s.lands(dataKey, s.now, "")
	old.ID, old.Name, old.State, old.Sequencer = airports, "data.csv", job.Landed, ""
	s.lands(dataKey, s.now, "")
	s.meanwhile = func() { // somebody writes down what he saw before
		if wrote, err := s.ledger.RecordFile(t.Context(), old, job.File{}); err != nil || !wrote {
			t.Errorf("got %v, %v", wrote, err)
		}
	}
	s.told(job.File{Key: dataKey}) // and no sequencer tells who saw more
	if got := s.files(t, airports)["data.csv"]; got.VersionID != "2" {
		t.Errorf("recorded is %+v", got)
	}
}

func TestSweepBringsNothingBackThatWasOverwrittenWhileItLooked(t *testing.T) {
	s := twoFeeds(t)
	s.lands(dataKey, s.now, "")
	s.meanwhile = func() { s.told(s.lands(dataKey, s.now, "")) }
	s.sweep()
	if got := s.files(t, airports)["data.csv"]; got.VersionID != "2" {
		t.Errorf("recorded is %+v", got)
	}
}

func TestUploadThatBeganEarlierAndEndedLaterIsTheNewerObject(t *testing.T) {
	s := twoFeeds(t)
	first := s.lands(dataKey, s.now, "")
	s.meanwhile = func() { s.told(s.lands(dataKey, s.now.Add(-time.Hour), "")) } // a large upload that began before
	s.told(first)
	if got := s.files(t, airports)["data.csv"]; got.VersionID != "2" {
		t.Errorf("recorded is %+v", got)
	}
}

func TestFileThatWasDeletedTakesNoPart(t *testing.T) {
	s := twoFeeds(t)
	s.told(s.lands("airports/2013-01-01/wrong.csv", s.now, ""))
	delete(s.landed, "airports/2013-01-01/wrong.csv")
	s.running(t, airports)
	if order := string(s.objects[orderKey(airports, 1)]); strings.Contains(order, "wrong.csv") || !strings.Contains(order, "data.csv") {
		t.Errorf("order: %s", order)
	}
	s.settled(t)
	if len(s.alerts) != 0 {
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestDayWhoseFilesWereAllDeletedFailsUntilItIsDeliveredAgain(t *testing.T) {
	s := twoFeeds(t)
	s.receive(s.deliver(airports)...)
	delete(s.landed, dataKey)
	s.sweep()
	s.start()
	s.has(t, airports, job.Failed, 1)
	if j := s.job(airports); j.Reason != "every file of the day was deleted from the landing bucket" || len(s.runs) != 0 {
		t.Errorf("%s; %d runs", j.Reason, len(s.runs))
	}
	s.now = s.now.Add(time.Minute)
	s.receive(s.deliver(airports)...)
	s.start()
	s.has(t, airports, job.Running, 2)
	s.settled(t)
}

func TestHostileKeysKeepNothingBackAndAreToldOnce(t *testing.T) {
	s := twoFeeds(t)
	good := []string{"a b.csv", "a+b.csv", "caf\u00e9.csv", "cafe\u0301.csv", strings.Repeat("x", 1024-len("airports/2013-01-01/"))}
	bad := []string{"airports/2013-01-01/../../secrets", "../2013-01-01/x.csv", "airports/2013-01-01/%2e%2e%2fx.csv", "airports/2013-01-01/a%2Bb.csv",
		"airports/2013-01-01/a\x00b.csv", "airports/2013-01-01/" + strings.Repeat("\u00e9", 503), strings.Repeat("\xff", 1024), strings.Repeat("y", 2000)}
	var keys []string
	for _, name := range good {
		s.put("airports/2013-01-01/" + name)
		keys = append(keys, "airports/2013-01-01/"+name)
	}
	for range 2 {
		s.receive(slices.Concat(bad, keys, s.deliver(airports))...)
	}
	s.has(t, airports, job.Ready, 0)
	want := append([]string{"_COMPLETE", "data.csv"}, good...)
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(s.files(t, airports))); !slices.Equal(got, want) {
		t.Errorf("files: %q", got)
	}
	rejected, err := s.ledger.Rejected(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rejected {
		if len(f.Name) > 1024 || f.Reason == "" {
			t.Errorf("recorded: %d bytes, %s", len(f.Name), f.Reason)
		}
	}
	if len(rejected) != len(bad) {
		t.Errorf("%d rejected, not %d", len(rejected), len(bad))
	}
	if len(s.alerts) != 2 { // of what is no feed, and of a feed's
		t.Errorf("alerts: %q", s.alerts)
	}
}

func TestEachKeyHasItsOwnFault(t *testing.T) {
	s := twoFeeds(t)
	keys := slices.Concat(s.deliver(airports), s.deliver(flights))
	broken := errors.New("no answer")
	s.intake.Landing = landingWithout{s, "flights/", broken}
	var files []job.File
	for _, k := range append(keys, "README.txt") {
		files = append(files, job.File{Key: k})
	}
	changed, faults := s.intake.Keys(t.Context(), files)
	if !changed || faults[0] != nil || faults[1] != nil || !errors.Is(faults[2], broken) || !errors.Is(faults[3], broken) || faults[4] != nil {
		t.Errorf("changed %v, faults %v", changed, faults)
	}
}

// landingWithout is a landing bucket that does not answer for a prefix.
type landingWithout struct {
	Landing
	prefix string
	err    error
}

func (l landingWithout) List(ctx context.Context, prefix, after string) ([]job.File, error) {
	if strings.HasPrefix(prefix, l.prefix) {
		return nil, l.err
	}
	return l.Landing.List(ctx, prefix, after)
}
