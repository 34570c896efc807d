package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// inputs writes files into a new folder and returns their paths.
func inputs(t *testing.T, names ...string) []string {
	t.Helper()
	dir := t.TempDir()
	var paths []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("text of "+filepath.Base(name)), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func TestPutUploadsTheFilesAndThenTheMarker(t *testing.T) {
	s := newStage()
	args := append([]string{"put", "--country", "us", "--feed", "flights", "--day", "2013-01-01"}, inputs(t, "b.csv", "a.csv")...)
	code, out, errOut := s.run(t, args...)
	if code != exitDone || errOut != "" {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	want := []string{
		"landing-us/flights/2013-01-01/b.csv=text of b.csv",
		"landing-us/flights/2013-01-01/a.csv=text of a.csv",
		"landing-us/flights/2013-01-01/_COMPLETE=",
	}
	if !slices.Equal(s.objects.log, want) {
		t.Errorf("uploaded %q, want %q", s.objects.log, want)
	}
	wantOut := "put s3://landing-us/flights/2013-01-01/b.csv\nput s3://landing-us/flights/2013-01-01/a.csv\nput s3://landing-us/flights/2013-01-01/_COMPLETE\n"
	if out != wantOut {
		t.Errorf("printed %q, want %q", out, wantOut)
	}
}

func TestPutWritesNoMarkerForAFeedThatCountsItsFiles(t *testing.T) {
	s := newStage()
	code, _, _ := s.run(t, "put", inputs(t, "a.csv")[0], "--country", "us", "--feed", "airports", "--day", "2013-01-01")
	if want := []string{"landing-us/airports/2013-01-01/a.csv=text of a.csv"}; code != exitDone || !slices.Equal(s.objects.log, want) {
		t.Errorf("exit %d, uploaded %q, want %q", code, s.objects.log, want)
	}
}

func TestPutOfAClosedDayLandsTheFileAndIsRefused(t *testing.T) {
	for _, state := range []string{"succeeded", "cancelled"} { // what was cancelled is a restatement
		s := newStage()
		s.us.jobs = []job{{Country: "us", Feed: "flights", Day: "2013-01-01", State: state, closed: true}}
		code, _, errOut := s.run(t, "put", inputs(t, "late.csv")[0], "--country", "us", "--feed", "flights", "--day", "2013-01-01")
		if code != exitRefused {
			t.Errorf("%s: exit %d, want %d", state, code, exitRefused)
		}
		if want := []string{"landing-us/flights/2013-01-01/late.csv=text of late.csv"}; !slices.Equal(s.objects.log, want) {
			t.Errorf("%s: uploaded %q, want %q", state, s.objects.log, want)
		}
		for _, part := range []string{`day 2013-01-01 of feed "flights" in country "us" is closed`, "restated", "sluice job show --country us --feed flights --day 2013-01-01"} {
			if !strings.Contains(errOut, part) {
				t.Errorf("%s: message %q lacks %q", state, errOut, part)
			}
		}
	}
}

func TestPutIsRefusedWhenTheDayClosesMeanwhile(t *testing.T) {
	s := newStage()
	s.us.jobs = []job{{Country: "us", Feed: "flights", Day: "2013-01-01", State: "running"}}
	s.us.closeAfter = 1
	code, _, _ := s.run(t, "put", inputs(t, "late.csv")[0], "--country", "us", "--feed", "flights", "--day", "2013-01-01")
	if code != exitRefused {
		t.Errorf("exit %d, want %d", code, exitRefused)
	}
}

func TestWrongPutIsRefusedBeforeAnythingIsUploaded(t *testing.T) {
	files := inputs(t, "a.csv", "other/a.csv", "_COMPLETE")
	flags := func(country, feed, day string) []string {
		return []string{"--country", country, "--feed", feed, "--day", day}
	}
	right := flags("us", "flights", "2013-01-01")
	for name, c := range map[string]struct {
		args    []string
		message string
	}{
		"no file":         {right, "requires at least 1 arg"},
		"missing flag":    {[]string{files[0], "--country", "us"}, `required flag(s) "day", "feed" not set`},
		"unknown flag":    {[]string{files[0], "--nation", "us"}, "unknown flag: --nation"},
		"unknown country": {append(flags("uy", "flights", "2013-01-01"), files[0]), `no country "uy" in the stack; it has pr, us`},
		"unknown feed":    {append(flags("us", "trains", "2013-01-01"), files[0]), `no feed "trains" in country "us"; it has airports, flights`},
		"impossible day":  {append(flags("us", "flights", "2013-02-30"), files[0]), `day "2013-02-30" is not a date of the form yyyy-mm-dd`},
		"day of the next century": {append(flags("us", "flights", "2099-01-01"), files[0]),
			"day 2099-01-01 is in the future: the latest day that is accepted now is 2013-01-06, which is tomorrow in Asia/Tokyo"},
		"day before all partitions": {append(flags("us", "flights", "1959-12-31"), files[0]),
			"day 1959-12-31 is too early: the earliest day that is accepted is 1960-01-01"},
		"absent file":        {append(right, files[0]+".gone"), "no such file or directory"},
		"folder":             {append(right, filepath.Dir(files[0])), "is not a regular file"},
		"same name twice":    {append(right, files[0], files[1]), "have the same name"},
		"name of the marker": {append(right, files[2]), "_COMPLETE is kept for the marker"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage()
			code, _, errOut := s.run(t, append([]string{"put"}, c.args...)...)
			if code != exitUsage || !strings.Contains(errOut, c.message) {
				t.Errorf("exit %d, message %q; want %d and %q", code, errOut, exitUsage, c.message)
			}
			if len(s.objects.log) != 0 {
				t.Errorf("uploaded %q", s.objects.log)
			}
		})
	}
}

func TestPutTellsOfAllFilesThatWouldNotBeReadAndUploadsNone(t *testing.T) {
	files := inputs(t, "a.csv", "per%20cent.csv", "b.csv", "a#b.csv", "it's.csv", "a[1].csv", ".c.csv", "_d.csv", strings.Repeat("x", 230)+".csv")
	if err := os.Chmod(files[2], 0); err != nil {
		t.Fatal(err)
	}
	s := newStage()
	code, out, errOut := s.run(t, append([]string{"put", "--country", "us", "--feed", "flights", "--day", "2013-01-01"}, files...)...)
	lines := strings.Split(strings.TrimSpace(errOut), "\n")
	want := []string{"cannot be put, and nothing was uploaded:",
		`per%20cent.csv: the name "per%20cent.csv" has the character '%': use letters, digits and any of - _ . + = @ , ( ) ~ and space; rename it, for example to "per-20cent.csv"`,
		`has the character '#': use letters, digits and any of - _ . + = @ , ( ) ~ and space; rename it, for example to "a-b.csv"`,
		`rename it, for example to "it-s.csv"`, `rename it, for example to "a-1-.csv"`,
		`.c.csv: the name ".c.csv" begins with ".": such files are not read; rename it, for example to "c.csv"`,
		`_d.csv: the name "_d.csv" begins with "_": such files are not read; rename it, for example to "d.csv"`}
	if os.Geteuid() != 0 { // whoever is root reads what nobody may
		want = slices.Insert(want, 2, "b.csv: permission denied")
	}
	if code != exitUsage || out != "" || len(s.objects.log) != 0 || len(lines) < len(want) {
		t.Fatalf("exit %d, %q, uploaded %q\n%s", code, out, s.objects.log, errOut)
	}
	for n, text := range want {
		if !strings.HasSuffix(lines[n], text) {
			t.Errorf("line %d: %q lacks %q", n, lines[n], text)
		}
	}
}

func TestPutThatIsInterruptedWritesNoMarker(t *testing.T) {
	files := inputs(t, "a.csv", "b.csv")
	s := newStage()
	ctx, cancel := context.WithCancel(t.Context())
	s.objects.uploaded = func() error { cancel(); return ctx.Err() }
	code, _, _ := s.runContext(ctx, append([]string{"put", "--country", "us", "--feed", "flights", "--day", "2013-01-01"}, files...)...)
	if want := []string{"landing-us/flights/2013-01-01/a.csv=text of a.csv"}; code == exitDone || !slices.Equal(s.objects.log, want) {
		t.Errorf("exit %d, uploaded %q", code, s.objects.log)
	}
}

func TestPutSealsTheFilesOfAFeedThatIsEncryptedByItsSender(t *testing.T) {
	s := newStage()
	args := append([]string{"put", "--country", "us", "--feed", "parcels", "--day", "2013-01-01"}, inputs(t, "a.csv")...)
	if code, _, errOut := s.run(t, args...); code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	want := []string{"landing-us/parcels/2013-01-01/a.csv=key-us(text of a.csv)", "landing-us/parcels/2013-01-01/_COMPLETE="}
	if !slices.Equal(s.objects.log, want) {
		t.Errorf("put %v, want %v", s.objects.log, want)
	}
	args = append([]string{"put", "--country", "us", "--feed", "parcels", "--day", "2013-01-01"}, inputs(t, "a.csv.gz")...)
	if code, _, errOut := s.run(t, args...); code != exitUsage || !strings.Contains(errOut, "unpack it") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

func TestPutIntoACancelledDaySaysWhatTakesItUp(t *testing.T) {
	s := newStage()
	s.us.jobs = []job{{Country: "us", Feed: "flights", Day: "2013-01-01", State: "cancelled", setAside: true}}
	code, _, errOut := s.run(t, "put", inputs(t, "a.csv")[0], "--country", "us", "--feed", "flights", "--day", "2013-01-01")
	if want := "the day was cancelled, and is not processed by itself: sluice redrive flights/2013-01-01 --country us does it after all\n"; code != exitDone || errOut != want {
		t.Errorf("exit %d, %q", code, errOut)
	}
}
