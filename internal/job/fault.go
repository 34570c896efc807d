package job

import (
	"fmt"
	"time"
)

// Fault is what is remembered of something that fails, perhaps again and again, so that people are told of it once and not at each try.
type Fault struct {
	ToldAt time.Time // ToldAt is when people were told last.
	SeenAt time.Time // SeenAt is when it failed last.
	Untold int64     // Untold is how often it failed since they were told.
}

const (
	faultOver   = time.Hour      // faultOver is how long something works before its next failure is another fault.
	faultRemind = 24 * time.Hour // faultRemind is how long a fault may last before people are told again.
)

// Before says how often it failed since people were told, for when they are told again; "" when it did not.
func (f Fault) Before() string {
	if f.Untold == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more times since %s)", f.Untold, f.ToldAt.UTC().Format(time.RFC3339))
}

// Again is the fault after one more failure, and whether people are to be told of it.
func (f Fault) Again(now time.Time) (Fault, bool) {
	if !f.ToldAt.IsZero() && now.Sub(f.SeenAt) < faultOver && now.Sub(f.ToldAt) < faultRemind {
		return Fault{ToldAt: f.ToldAt, SeenAt: now, Untold: f.Untold + 1}, false
	}
	return Fault{ToldAt: now, SeenAt: now}, true
}
