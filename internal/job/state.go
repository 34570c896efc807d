package job

import "slices"

// State is where a job stands.
type State string

// The states of a job.
const (
	Waiting   State = "waiting"   // Waiting for a prerequisite, an earlier day, or its next attempt.
	Ready     State = "ready"     // Ready: only a slot is missing.
	Running   State = "running"   // Running holds one of the country's slots.
	Succeeded State = "succeeded" // Succeeded closes the day.
	Failed    State = "failed"    // Failed: the day's files cannot be used; delivering the day again tries again.
	Dead      State = "dead"      // Dead: out of attempts.
	Blocked   State = "blocked"   // Blocked by something that does not come by itself.
	Held      State = "held"      // Held until somebody decides.
	Cancelled State = "cancelled" // Cancelled by somebody.
)

// transitions lists, for each state, the states that may follow it.
var transitions = map[State][]State{
	Waiting:   {Ready, Blocked, Held, Cancelled},
	Ready:     {Running, Waiting, Blocked, Held, Cancelled},
	Running:   {Succeeded, Ready, Waiting, Failed, Dead, Cancelled}, // ready: its engine was switched off before it began; waiting is for the next attempt
	Blocked:   {Waiting, Ready, Held, Cancelled},
	Failed:    {Waiting, Cancelled},
	Dead:      {Waiting, Cancelled},
	Held:      {Waiting, Cancelled},
	Cancelled: {Waiting},
	Succeeded: {Waiting}, // only as a restatement: a new revision
}

// CanBecome tells whether a job may go from s to next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// Open tells whether a job in this state is still to be planned: it waits for its turn and nobody's decision.
func (s State) Open() bool { return s == Waiting || s == Ready || s == Blocked }

// Ended tells whether a job in this state does nothing more by itself.
func (s State) Ended() bool {
	return s == Succeeded || s == Failed || s == Dead || s == Cancelled
}
