package job

import (
	"testing"
	"time"
)

func TestFaultIsToldWhenItBeginsAndOnceADay(t *testing.T) {
	begin := at(noon)
	for _, c := range []struct {
		name string
		was  Fault
		now  time.Time
		want Fault
		tell bool
	}{
		{"the first failure", Fault{}, begin, Fault{begin, begin, 0}, true},
		{"one more", Fault{begin, begin, 0}, begin.Add(time.Minute), Fault{begin, begin.Add(time.Minute), 1}, false},
		{"after an hour that worked", Fault{begin, begin, 7}, begin.Add(time.Hour), Fault{begin.Add(time.Hour), begin.Add(time.Hour), 0}, true},
		{"just before a day", Fault{begin, begin.Add(23*time.Hour + 59*time.Minute), 7}, begin.Add(24*time.Hour - time.Second), Fault{begin, begin.Add(24*time.Hour - time.Second), 8}, false},
		{"after a day", Fault{begin, begin.Add(23*time.Hour + 59*time.Minute), 7}, begin.Add(24 * time.Hour), Fault{begin.Add(24 * time.Hour), begin.Add(24 * time.Hour), 0}, true},
	} {
		if got, tell := c.was.Again(c.now); got != c.want || tell != c.tell {
			t.Errorf("%s: %+v %v, want %+v %v", c.name, got, tell, c.want, c.tell)
		}
	}
}
