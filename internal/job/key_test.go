package job

import (
	"strings"
	"testing"
	"time"
)

func TestKeyNamesFeedDayAndFile(t *testing.T) {
	for _, key := range []string{
		"flights/2013-01-01/flights.csv", "store-visits_2/2024-02-29/Übersicht März.csv.gz", "flights/2013-01-01/_COMPLETE", "f/2013-12-31/a b+c=(1),@~-x.csv",
		"flights/2013-01-01/cafe\u0301.csv", "flights/2013-01-01/caf\u00e9.csv", // the same word in two normal forms: two files
	} {
		id, name, err := ParseKey(key)
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
		if got := id.String() + "/" + name; got != key {
			t.Errorf("%s was read as %s", key, got)
		}
	}
}

func TestHostileKeyIsRefusedWithItsReason(t *testing.T) {
	const form = "; put files at <feed>/<yyyy-mm-dd>/<file>"
	for key, want := range map[string]string{
		"":                                                "the key has 1 parts",
		"flights.csv":                                     "the key has 1 parts",
		"flights/flights.csv":                             "the key has 2 parts",
		"flights/2013-01-01/a/b.csv":                      "the key has 4 parts",
		"flights/2013-01-01/../../etc/passwd":             "the key has 6 parts",
		"flights/2013-01-01/..":                           `the name ".." begins with ".": such files are not read`,
		"flights/2013-01-01/.hidden.csv":                  `the name ".hidden.csv" begins with ".": such files are not read`,
		"flights/2013-01-01/_SUCCESS":                     `the name "_SUCCESS" begins with "_": such files are not read`,
		"flights/2013-01-01/":                             "the file has no name",
		"../2013-01-01/x.csv":                             `".." cannot be a feed`,
		"Flights/2013-01-01/x.csv":                        `"Flights" cannot be a feed`,
		"/2013-01-01/x.csv":                               `"" cannot be a feed`,
		"flights/2013-02-29/x.csv":                        `day "2013-02-29" is not a date of the form yyyy-mm-dd`,
		"flights/2013-1-1/x.csv":                          `day "2013-1-1" is not a date of the form yyyy-mm-dd`,
		"flights/0000-01-01/x.csv":                        `day "0000-01-01" is not a date of the form yyyy-mm-dd`,
		"flights/2013-01-01/%2e%2e.csv":                   `the name "%2e%2e.csv" has the character '%': use letters, digits and any of - _ . + = @ , ( ) ~ and space`,
		"flights/2013-01-01/{a,b}*.csv":                   `the name "{a,b}*.csv" has the character '{': use letters, digits and any of - _ . + = @ , ( ) ~ and space`,
		"flights/2013-01-01/a\nb.csv":                     `the name "a\nb.csv" has the character '\n': use letters, digits and any of - _ . + = @ , ( ) ~ and space`,
		"flights/2013-01-01/\xff.csv":                     "the key is not UTF-8",
		"flights/2013-01-01/" + strings.Repeat("x", 1006): "the key is longer than 1024 bytes",
	} {
		_, _, err := ParseKey(key)
		if err == nil || err.Error() != want+form {
			t.Errorf("%q: got %v, want %s", key, err, want)
		}
	}
}

func TestKeyOf1024BytesIsRead(t *testing.T) {
	if _, _, err := ParseKey("flights/2013-01-01/" + strings.Repeat("x", 1005)); err != nil {
		t.Error(err)
	}
}

func TestDayEndsAtItsZonesMidnight(t *testing.T) {
	for _, c := range []struct{ zone, day, want string }{
		{"UTC", "2013-01-01", "2013-01-02T00:00:00Z"},
		{"America/New_York", "2024-03-10", "2024-03-11T04:00:00Z"}, // 23 hours: the clocks go forward
		{"America/New_York", "2024-11-03", "2024-11-04T05:00:00Z"}, // 25 hours
		{"America/Santiago", "2024-09-07", "2024-09-08T04:00:00Z"}, // the next day begins at 01:00: there is no midnight
		{"Asia/Kolkata", "2024-02-29", "2024-02-29T18:30:00Z"},
		{"UTC", "2023-12-31", "2024-01-01T00:00:00Z"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		if got := Day(c.day).End(zone).UTC().Format(time.RFC3339); got != c.want {
			t.Errorf("%s %s ends %s, want %s", c.zone, c.day, got, c.want)
		}
	}
}

func TestIDIsReadBackAsWritten(t *testing.T) {
	id := ID{"flights", "2013-01-01"}
	if got, err := ParseID(id.String()); err != nil || got != id {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "flights", "flights/", "/2013-01-01", "flights/2013-01-01/x", "#slots"} {
		if got, err := ParseID(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}
