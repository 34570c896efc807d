package job

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Marker is the name of the file that says that a day is complete, for feeds that want one.
const Marker = "_COMPLETE"

// maxKeyBytes is S3's limit for a key.
const maxKeyBytes = 1024

// Day is the date key of a delivery, "yyyy-mm-dd". Days compare as strings do.
type Day string

// ParseDay checks that text is a date, written as yyyy-mm-dd.
func ParseDay(text string) (Day, error) {
	d, err := time.Parse(time.DateOnly, text)
	if err != nil || d.Year() == 0 {
		return "", fmt.Errorf("day %q is not a date of the form yyyy-mm-dd", text)
	}
	return Day(text), nil
}

// FirstDay is the earliest day that a delivery may be of: rows of earlier days have no partition of their own in BigQuery, they all fall into
// one, __UNPARTITIONED__ (https://cloud.google.com/bigquery/docs/partitioned-tables), which no load of a single day can replace.
const FirstDay Day = "1960-01-01"

// LatestDay is the latest day that a delivery may be of: tomorrow, as the calendar of a zone has it. A sender's clock may be ahead by a day,
// but not by a year: a day that succeeded closes its feed to all days before it.
func LatestDay(now time.Time, zone *time.Location) Day {
	return Day(now.In(zone).Format(time.DateOnly)).Next()
}

// Check refuses a day that a delivery cannot be of now: one before FirstDay, or after LatestDay. The error says which days are accepted.
func (d Day) Check(now time.Time, zone *time.Location) error {
	switch latest := LatestDay(now, zone); {
	case d < FirstDay:
		return fmt.Errorf("day %s is too early: the earliest day that is accepted is %s", d, FirstDay)
	case d > latest:
		return fmt.Errorf("day %s is in the future: the latest day that is accepted now is %s, which is tomorrow in %s", d, latest, zone)
	}
	return nil
}

// End is the midnight that ends the day in a zone, as its clocks show it: a day may have 23 or 25 hours.
func (d Day) End(zone *time.Location) time.Time {
	start, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	y, m, day := start.Date()
	end := time.Date(y, m, day+1, 0, 0, 0, 0, zone)
	if end.Day() == day {
		// Clocks went forward over this midnight, and Go chose the hour before.
		end = end.Add(time.Hour)
	}
	return end
}

// Next is the day after.
func (d Day) Next() Day {
	start, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return ""
	}
	return Day(start.AddDate(0, 0, 1).Format(time.DateOnly))
}

// Compact is the day without its dashes, as partition ids have it.
func (d Day) Compact() string { return strings.ReplaceAll(string(d), "-", "") }

// ParseID reads back what ID.String wrote.
func ParseID(text string) (ID, error) {
	feed, day, ok := strings.Cut(text, "/")
	if !ok || !validFeed(feed) {
		return ID{}, fmt.Errorf("job %q is not of the form feed/yyyy-mm-dd", text)
	}
	d, err := ParseDay(day)
	if err != nil {
		return ID{}, fmt.Errorf("job %q: %w", text, err)
	}
	return ID{feed, d}, nil
}

// ParseKey reads the key of an object in the landing bucket, "<feed>/<yyyy-mm-dd>/<file>". The key is whatever somebody wrote: what
// is accepted is safe to put into paths and names. The error says how a key has to look.
func ParseKey(key string) (id ID, file string, err error) {
	id, file, why := parseKey(key)
	if why != "" {
		return ID{}, "", fmt.Errorf("%s; put files at <feed>/<yyyy-mm-dd>/<file>", why)
	}
	return id, file, nil
}

// Refuses says why a file of the day cannot have a name, "" when it can: what ParseKey says of its key, before there is an object. The marker's
// name is no file's.
func (i ID) Refuses(name string) string {
	if name == Marker {
		return fmt.Sprintf("the name %s is kept for the marker", Marker)
	}
	_, _, why := parseKey(i.String() + "/" + name)
	return why
}

// parseKey is ParseKey with the reason in words.
func parseKey(key string) (id ID, file, why string) {
	refuse := func(why string) (ID, string, string) { return ID{}, "", why }
	if len(key) > maxKeyBytes {
		return refuse("the key is longer than 1024 bytes")
	}
	if !utf8.ValidString(key) {
		return refuse("the key is not UTF-8")
	}
	parts := strings.Split(key, "/")
	if len(parts) != 3 {
		return refuse(fmt.Sprintf("the key has %d parts", len(parts)))
	}
	if !validFeed(parts[0]) {
		return refuse(fmt.Sprintf("%q cannot be a feed", parts[0]))
	}
	day, err := ParseDay(parts[1])
	if err != nil {
		return refuse(err.Error())
	}
	if why := badFile(parts[2]); why != "" {
		return refuse(why)
	}
	return ID{parts[0], day}, parts[2], ""
}

// GoodName is a name that is accepted for a file, as like the given one as possible.
func GoodName(name string) string {
	name = strings.TrimLeft(strings.ToValidUTF8(name, "-"), "_.")
	name = strings.Map(func(r rune) rune {
		if goodInName(r) {
			return r
		}
		return '-'
	}, name)
	if strings.Trim(name, "-") == "" {
		return "file"
	}
	return name
}

// Sequencer makes the sequencer of an S3 event comparable: of two events of one key the later one has the greater string. AWS has the
// shorter of two hexadecimal numbers padded with zeros on its right and both compared as strings ("Event message structure" in the S3 user
// guide); without the zeros at their ends they compare alike, in DynamoDB's conditions as well. What is no such number is "", as if there
// were none.
func Sequencer(text string) string {
	text = strings.ToUpper(text)
	if len(text) > 64 || strings.Trim(text, "0123456789ABCDEF") != "" {
		return ""
	}
	return strings.TrimRight(text, "0")
}

// badFile says what is wrong with a file's name. Spark skips names that begin with an underscore or a dot, and takes others for
// patterns; so none of them may pass as data.
func badFile(name string) string {
	switch {
	case name == Marker:
		return ""
	case name == "":
		return "the file has no name"
	case strings.ContainsAny(name[:1], "_."):
		return fmt.Sprintf("the name %q begins with %q: such files are not read", name, name[:1])
	}
	for _, r := range name {
		if !goodInName(r) {
			return fmt.Sprintf("the name %q has the character %q: use letters, digits and any of - _ . + = @ , ( ) ~ and space", name, r)
		}
	}
	return ""
}

// goodInName tells whether a file's name may have a character.
func goodInName(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(" -_.+=@,()~", r)
}

// validFeed tells whether a name can be a feed: it becomes part of tables, prefixes and names of resources.
func validFeed(name string) bool {
	if name == "" || len(name) > 64 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' {
			return false
		}
	}
	return true
}
