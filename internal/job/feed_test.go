package job

import (
	"testing"
	"time"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func TestDayIsCompleteByTheFeedsRule(t *testing.T) {
	landed := at("2013-01-01T10:00:00Z")
	file := func(name string) File { return File{Name: name, LandedAt: landed} }
	for name, c := range map[string]struct {
		feed  Feed
		files []File
		now   string
		want  bool
	}{
		"marker and file":              {Feed{Completeness: ByMarker}, []File{file("a.csv"), file(Marker)}, "2013-01-01T10:00:00Z", true},
		"file without marker":          {Feed{Completeness: ByMarker}, []File{file("a.csv")}, "2013-01-09T10:00:00Z", false},
		"marker without files":         {Feed{Completeness: ByMarker}, []File{file(Marker)}, "2013-01-01T10:00:00Z", false},
		"as many as expected":          {Feed{Completeness: ByCount, ExpectedFiles: 2}, []File{file("a"), file("b")}, "2013-01-01T10:00:00Z", true},
		"one too few":                  {Feed{Completeness: ByCount, ExpectedFiles: 2}, []File{file("a")}, "2013-01-01T10:00:00Z", false},
		"a marker is not counted":      {Feed{Completeness: ByCount, ExpectedFiles: 2}, []File{file("a"), file(Marker)}, "2013-01-01T10:00:00Z", false},
		"before the window ends":       {Feed{Completeness: ByWindow}, []File{file("a")}, "2013-01-02T00:59:59Z", false},
		"when the window ends":         {Feed{Completeness: ByWindow}, []File{file("a")}, "2013-01-02T01:00:00Z", true},
		"own window":                   {Feed{Completeness: ByWindow, Window: time.Minute}, []File{file("a")}, "2013-01-02T00:01:00Z", true},
		"nothing came in the window":   {Feed{Completeness: ByWindow}, nil, "2013-01-03T00:00:00Z", false},
		"a completeness nobody knows":  {Feed{Completeness: "soon"}, []File{file("a"), file(Marker)}, "2013-01-03T00:00:00Z", false},
		"a past day is still arriving": {Feed{Completeness: ByWindow}, []File{{Name: "a", LandedAt: at("2020-01-01T00:00:00Z")}}, "2020-01-01T00:59:59Z", false},
	} {
		if got := c.feed.Complete("2013-01-01", c.files, at(c.now), time.UTC); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestMissingSaysWhatADayLacks(t *testing.T) {
	landed := at("2013-01-01T10:00:00Z")
	file := func(name string) File { return File{Name: name, LandedAt: landed} }
	for want, c := range map[string]struct {
		feed  Feed
		files []File
	}{
		"no file is there":                           {Feed{Completeness: ByMarker}, nil},
		"the marker _COMPLETE is there, but no file": {Feed{Completeness: ByMarker}, []File{file(Marker)}},
		"the marker _COMPLETE is missing":            {Feed{Completeness: ByMarker}, []File{file("a")}},
		"1 of 2 files are there":                     {Feed{Completeness: ByCount, ExpectedFiles: 2}, []File{file("a"), file(Marker)}},
		"its window ends at 2013-01-02T01:00:00Z":    {Feed{Completeness: ByWindow}, []File{file("a")}},
		"": {Feed{Completeness: ByCount, ExpectedFiles: 1}, []File{file("a")}},
	} {
		if got := c.feed.Missing("2013-01-01", c.files, landed, time.UTC); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestFeedsThatFitAreAccepted(t *testing.T) {
	err := CheckFeeds([]Feed{
		{Name: "airlines", Completeness: ByMarker},
		{Name: "airports", Completeness: ByCount, ExpectedFiles: 1},
		{Name: "flights", Completeness: ByWindow, Prerequisites: []string{"airlines", "airports"}},
		{Name: "delays", Completeness: ByMarker, Prerequisites: []string{"flights", "airports"}},
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEveryFaultOfFeedsIsReportedAtOnce(t *testing.T) {
	err := CheckFeeds([]Feed{
		{Name: "a", Completeness: ByMarker, Prerequisites: []string{"b"}},
		{Name: "b", Completeness: ByMarker, Prerequisites: []string{"c", "nowhere"}},
		{Name: "c", Completeness: ByMarker, Prerequisites: []string{"a"}},
		{Name: "Bad", Completeness: "soon"},
		{Name: "n", Completeness: ByCount},
		{Name: "n", Completeness: ByMarker},
	})
	const want = `feed "Bad": a name begins with a letter and has at most 64 lower-case letters, digits, - and _
feed "Bad": completeness "soon" is not one of marker, count, window
feed "n": completeness count needs expectedFiles of at least 1
feed "n" is there twice
feed "b": prerequisite "nowhere" is no feed of this country
feeds wait for each other: a needs b needs c needs a`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestFeedThatNeedsItselfIsACycle(t *testing.T) {
	err := CheckFeeds([]Feed{{Name: "a", Completeness: ByMarker, Prerequisites: []string{"a"}}})
	if err == nil || err.Error() != "feeds wait for each other: a needs a" {
		t.Errorf("got %v", err)
	}
}
