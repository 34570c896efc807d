package job

import (
	"cmp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
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

// TestHostileNames has the kinds of names that a bucket may be given, each by itself: what is refused, and what is read as it is.
func TestHostileNames(t *testing.T) {
	const day = "flights/2013-01-01/"
	for _, c := range []struct {
		kind, key string
		read      bool
	}{
		{"dot dot slash as a feed", "../2013-01-01/x.csv", false},
		{"dot dot slash as a file", day + "../x.csv", false},
		{"dot dot as a file", day + "..", false},
		{"encoded dot", day + "%2e%2e", false},
		{"dot encoded twice", day + "%252e", false},
		{"encoded slash", day + "..%2fx.csv", false},
		{"plus", day + "a+b.csv", true},
		{"encoded plus", day + "a%2Bb.csv", false},
		{"NFC", day + "caf\u00e9.csv", true},
		{"NFD", day + "cafe\u0301.csv", true},
		{"1,024 bytes", day + strings.Repeat("x", 1024-len(day)), true},
		{"1,024 bytes of two-byte letters", day + strings.Repeat("\u00e9", (1024-len(day))/2), true},
		{"1,025 bytes", day + strings.Repeat("x", 1025-len(day)), false},
		{"right to left override", day + "a\u202evsc.exe", false},
		{"zero byte", day + "a\x00.csv", false},
		{"look-alike feed", "fl\u0456ghts/2013-01-01/x.csv", false},
	} {
		t.Run(c.kind, func(t *testing.T) {
			id, name, err := ParseKey(c.key)
			if read := err == nil; read != c.read {
				t.Fatalf("read %v: %v", read, err)
			}
			if c.read && id.String()+"/"+name != c.key {
				t.Errorf("read as %s/%s", id, name)
			}
		})
	}
}

func TestSequencersCompareAsAWSSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		digits := rapid.StringMatching("[0-9a-fA-F]{1,40}")
		a, b := digits.Draw(rt, "a"), digits.Draw(rt, "b")
		long := max(len(a), len(b))
		padded := func(s string) string { return strings.ToUpper(s) + strings.Repeat("0", long-len(s)) }
		if got, want := cmp.Compare(Sequencer(a), Sequencer(b)), cmp.Compare(padded(a), padded(b)); got != want {
			rt.Fatalf("%s and %s compare as %d, not %d", a, b, got, want)
		}
	})
	for _, none := range []string{"", "0", "0x1", "later", "-1", strings.Repeat("1", 65)} {
		if got := Sequencer(none); got != "" {
			t.Errorf("%q was read as %q", none, got)
		}
	}
}

func TestTicketIsWornBeforeItsQueueShowsItAgain(t *testing.T) {
	sent := at("2013-01-01T12:00:00Z")
	for _, c := range []struct {
		ticket Ticket
		after  time.Duration
		want   bool
	}{
		{Ticket{}, 100 * time.Hour, false},
		{Ticket{SentAt: sent}, 11*time.Hour + 49*time.Minute, false},
		{Ticket{SentAt: sent}, 11*time.Hour + 50*time.Minute, true},
		{Ticket{SentAt: sent, ReceivedAt: sent.Add(time.Hour)}, 12 * time.Hour, false},
		{Ticket{SentAt: sent, ReceivedAt: sent.Add(time.Hour)}, 12*time.Hour + 50*time.Minute, true},
		{Ticket{ReceivedAt: sent}, 11*time.Hour + 50*time.Minute, true}, // whoever sent it died before he wrote that down
	} {
		if got := c.ticket.Worn(sent.Add(c.after)); got != c.want {
			t.Errorf("%+v after %s: %v", c.ticket, c.after, got)
		}
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

func TestDayIsAcceptedFromTheFirstPartitionUntilTomorrowInItsZone(t *testing.T) {
	now := at("2013-01-04T16:00:00Z")
	for _, c := range []struct {
		day  Day
		zone string
		want string
	}{
		{"1960-01-01", "UTC", ""},
		{"1959-12-31", "UTC", "day 1959-12-31 is too early: the earliest day that is accepted is 1960-01-01"},
		{"0001-01-01", "UTC", "day 0001-01-01 is too early: the earliest day that is accepted is 1960-01-01"},
		{"2013-01-05", "UTC", ""},
		{"2013-01-06", "UTC", "day 2013-01-06 is in the future: the latest day that is accepted now is 2013-01-05, which is tomorrow in UTC"},
		{"2013-01-06", "Asia/Tokyo", ""},
		{"2013-01-07", "Asia/Tokyo", "day 2013-01-07 is in the future: the latest day that is accepted now is 2013-01-06, which is tomorrow in Asia/Tokyo"},
		{"2013-01-06", "Pacific/Kiritimati", ""},
		{"9999-12-31", "UTC", "day 9999-12-31 is in the future: the latest day that is accepted now is 2013-01-05, which is tomorrow in UTC"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := c.day.Check(now, zone); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s in %s: %q, not %q", c.day, c.zone, got, c.want)
		}
	}
}

func TestGoodNameOfAnyNameIsAccepted(t *testing.T) {
	day := ID{"a", d1}
	for name, want := range map[string]string{"a.csv": "a.csv", "per%20cent.csv": "per-20cent.csv", "__x.csv": "x.csv", "_COMPLETE": "COMPLETE", "..": "file", "###": "file", "\xff.csv": "-.csv", "caf\u00e9.csv": "caf\u00e9.csv"} {
		if got := GoodName(name); got != want {
			t.Errorf("%q becomes %q, not %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(0, 100, 300).Draw(t, "name")
		good := GoodName(name)
		if why := day.Refuses(good); why != "" {
			t.Fatalf("%q becomes %q: %s", name, good, why)
		}
		_, _, err := ParseKey(day.String() + "/" + name)
		if (day.Refuses(name) == "") != (err == nil && name != Marker) {
			t.Fatalf("%q: %q and %v", name, day.Refuses(name), err)
		}
	})
}
