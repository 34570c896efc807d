package job

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/sizing"
)

// Board is all that a plan is made of: the state of one country at one moment.
type Board struct {
	Country  string // Country is the country's code, for texts that name commands; empty: they do without.
	Now      time.Time
	Zone     *time.Location
	Parallel int // Parallel is how many jobs may run at once.

	Feeds   map[string]Feed
	LastDay map[string]Day    // LastDay is each feed's last succeeded day; a feed without one is absent.
	Jobs    map[ID]Job        // Jobs holds every open job, and every job that one of them may wait for.
	Off     map[string]string // Off says of each engine that is switched off why nothing starts on it; nil: it was not asked.
	Slots   []ID              // Slots are the jobs that hold one of the country's slots.
	Landed  map[string][]Day  // Landed are the days after the last one that have files but no job yet, by feed.
}

// Command is the command line that does something to a job of the board's country.
func (b Board) Command(v Verb, id ID) string {
	text := fmt.Sprintf("sluice %s %s", v, id)
	if b.Country != "" {
		text += " --country " + b.Country
	}
	return text
}

// Decision is one change that the plan asks for. It holds only while the job is in state From with this token.
type Decision struct {
	ID       ID
	From, To State
	Token    int64
	Reason   string
	Alert    bool // Alert tells that somebody has to do something before the job goes on.
}

// Plan decides what happens next: which jobs become ready, which wait or are blocked and for what, and which of the ready ones take
// the free slots. The same board gives the same decisions in the same order.
//
// It costs n log n for n jobs on the board, the prerequisites of each among them.
func Plan(b Board) []Decision {
	p := newPlanner(b)
	decisions, startable := p.judged(p.open())
	if len(startable) > 0 {
		p.measure()
	}
	// What is new goes before what is done again, so that a backfill of years delays no day of today.
	slices.SortStableFunc(startable, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(min(max(a.Revision, 1), 2), min(max(b.Revision, 1), 2)), cmp.Compare(b.path, a.path))
	})
	free := max(b.Parallel-len(b.Slots), 0)
	leased := map[string]bool{} // feeds that one of the chosen will run on
	for _, j := range startable {
		if free == 0 {
			break
		}
		if leased[j.Feed] {
			continue
		}
		leased[j.Feed] = true
		free--
		decisions = append(decisions, Decision{ID: j.ID, From: Ready, To: Running, Token: j.Token})
	}
	return decisions
}

// Moves plans a board again and again, until nothing on it moves any more but what takes a slot. It gives the decisions that Plan would give
// each time, and judges again only what those before may have changed.
type Moves struct {
	planner
	due []*entry // due are the open jobs to be judged the next time.
}

// NewMoves begins with a board as it was read. What Made notes changes its jobs.
func NewMoves(b Board) *Moves {
	p := newPlanner(b)
	return &Moves{p, p.open()}
}

// Next returns the next decisions, none when all is at rest.
func (m *Moves) Next() []Decision {
	decisions, _ := m.judged(m.due)
	m.due = nil
	return decisions
}

// Made notes that a decision of the last Next was written.
func (m *Moves) Made(d Decision) {
	e := m.find(d.ID)
	e.State, e.Reason = d.To, d.Reason
	m.Jobs[d.ID] = e.Job
	var behind []*entry
	if d.From == Held {
		behind = append(behind, e)
	}
	for _, name := range m.needing[d.ID.Feed] {
		behind = append(behind, m.find(ID{name, d.ID.Day}))
	}
	for k := e.first; k > 0 && k < len(e.lane.jobs) && e.lane.jobs[k].before == e; k++ {
		behind = append(behind, e.lane.jobs[k])
	}
	for _, j := range behind {
		if j != nil && j.State.Open() {
			m.due = append(m.due, j)
		}
	}
}

// planner is a board with its jobs in order, so that what stands before and behind each of them is found at once.
type planner struct {
	Board
	lanes   map[string]*lane
	needing map[string][]string // needing are, by feed, the feeds that have it as a prerequisite.
}

// lane is what there is of one feed.
type lane struct {
	jobs    []*entry // jobs are in the order of their days.
	landed  []Day    // landed are the days after the last one that have files but no job, in order.
	running []Day    // running are the days that hold a slot and run.
}

// entry is a job in its lane.
type entry struct {
	Job
	lane     *lane
	before   *entry        // before is the last earlier job that this one has to wait for; nil: there is none.
	first    int           // first is where those begin in the lane whose before this is; 0: there are none.
	next     *entry        // next is the next open job; nil: there is none.
	path     time.Duration // path is about how long the longest chain of jobs takes that starts with this one: those that can start only after it.
	measured bool          // measured: path is known.
}

func newPlanner(b Board) planner {
	p := planner{Board: b, lanes: map[string]*lane{}, needing: map[string][]string{}}
	for _, name := range sortedNames(b.Feeds) {
		for _, needed := range b.Feeds[name].Prerequisites {
			p.needing[needed] = append(p.needing[needed], name)
		}
	}
	for id, j := range b.Jobs {
		l := p.lane(id.Feed)
		l.jobs = append(l.jobs, &entry{Job: j, lane: l})
	}
	for feed, l := range p.lanes {
		slices.SortFunc(l.jobs, func(a, b *entry) int { return cmp.Compare(a.Day, b.Day) })
		l.link(b.LastDay[feed])
	}
	for feed, days := range b.Landed {
		l := p.lane(feed)
		for _, day := range days {
			if _, hasJob := b.Jobs[ID{feed, day}]; day > b.LastDay[feed] && !hasJob {
				l.landed = append(l.landed, day)
			}
		}
		slices.Sort(l.landed)
	}
	for _, id := range b.Slots {
		if b.Jobs[id].State == Running {
			l := p.lane(id.Feed)
			l.running = append(l.running, id.Day)
		}
	}
	return p
}

func (p planner) lane(feed string) *lane {
	if p.lanes[feed] == nil {
		p.lanes[feed] = &lane{}
	}
	return p.lanes[feed]
}

// link finds for each job the last earlier one that has not been processed, and the next open one. Up to the feed's last day only what runs
// is in the way and, for a restatement, an earlier one that is to come. No decision of a plan changes what is in the way, only how it stands.
func (l *lane) link(last Day) {
	var ahead, again *entry // the last job that is in the way of those after the last day, and of those up to it
	for k, j := range l.jobs {
		j.before = ahead
		if j.Day <= last {
			j.before = again
		}
		if j.before != nil && j.before.first == 0 {
			j.before.first = k
		}
		if j.State == Succeeded || j.State == Cancelled {
			continue
		}
		if j.Day > last || j.State == Running {
			ahead = j
		}
		if j.State == Running || j.Revision > 1 && j.State.Open() {
			again = j
		}
	}
	var next *entry
	for _, j := range slices.Backward(l.jobs) {
		j.next = next
		if j.State.Open() {
			next = j
		}
	}
}

// find returns a job, or nil.
func (p planner) find(id ID) *entry {
	l := p.lanes[id.Feed]
	if l == nil {
		return nil
	}
	k, found := slices.BinarySearchFunc(l.jobs, id.Day, func(e *entry, day Day) int { return cmp.Compare(e.Day, day) })
	if !found {
		return nil
	}
	return l.jobs[k]
}

// open returns the jobs to be planned.
func (p planner) open() []*entry {
	var jobs []*entry
	for _, l := range p.lanes {
		for _, j := range l.jobs {
			if j.Planned(p.LastDay[j.Feed]) {
				jobs = append(jobs, j)
			}
		}
	}
	return jobs
}

// judged returns what is decided of open jobs, the oldest day first, and those that can start.
func (p planner) judged(jobs []*entry) (decisions []Decision, startable []*entry) {
	slices.SortFunc(jobs, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Feed, b.Feed))
	})
	for _, j := range slices.Compact(jobs) {
		if !j.Planned(p.LastDay[j.Feed]) {
			continue // a decision of this round held it
		}
		to, reason, alert := p.judge(j)
		if j.State == Held {
			to, alert = Waiting, false // it is judged like the others once it is open
		}
		if to == Ready && j.State == Ready {
			off, isOff := p.Off[p.Feeds[j.Feed].engine()]
			if p.Off != nil && off != j.Reason {
				decisions = append(decisions, Decision{ID: j.ID, From: Ready, To: Ready, Token: j.Token, Reason: off})
			}
			if !isOff {
				startable = append(startable, j)
			}
			continue
		}
		if to != j.State || reason != j.Reason {
			decisions = append(decisions, Decision{ID: j.ID, From: j.State, To: to, Token: j.Token, Reason: reason, Alert: alert && to != j.State})
		}
	}
	return decisions, startable
}

// judge says in which state an open job should be and why. Something that comes by itself is waited for; what only a person can
// bring blocks.
func (p planner) judge(j *entry) (to State, reason string, alert bool) {
	feed, ok := p.Feeds[j.Feed]
	if !ok {
		return Blocked, fmt.Sprintf("feed %s is not deployed", j.Feed), true
	}
	if last := p.LastDay[j.Feed]; j.early(last) {
		return Held, fmt.Sprintf("the day is earlier than %s, the last one that succeeded: it needs a restatement", last), true
	}
	var waits []string
	for _, o := range p.obstacles(j, feed) {
		if o.blocks {
			return Blocked, o.text, o.alert
		}
		waits = append(waits, o.text)
	}
	if len(waits) > 0 {
		return Waiting, "waits for " + strings.Join(waits, ", "), false
	}
	return Ready, "", false
}

// obstacle is one thing that a job cannot start before.
type obstacle struct {
	kind   WhyKind
	text   string
	next   string // next is the step that ends it, where only this obstacle knows that
	blocks bool   // it does not come by itself
	alert  bool   // and nothing else reported it
}

// obstacles lists what stands in a job's way: objects that cannot be read, its own last failure, another day that runs on its feed, earlier days, the nearest one
// only, then its prerequisites.
func (p planner) obstacles(j *entry, feed Feed) []obstacle {
	var found []obstacle
	if j.LacksFiles() && !j.Retract { // people were told when the objects were seen
		found = append(found, obstacle{kind: WhyUnread, text: j.Unread.Text, blocks: true})
	}
	if p.Now.Before(j.RetryAt) {
		found = append(found, obstacle{kind: WhyAttempt, text: fmt.Sprintf("attempt %d of %d at %s, because the last one failed: %s",
			j.Attempts()+1, feed.attempts(), j.RetryAt.UTC().Format(time.RFC3339), j.Trouble)})
	}
	if o, ok := p.lease(j); ok {
		found = append(found, o)
	}
	if j.Retract {
		return found // what is taken away needs nothing of other days or feeds
	}
	if o, ok := p.earlierDay(j, feed); ok {
		found = append(found, o)
	}
	for _, name := range feed.Prerequisites {
		if o, ok := p.prerequisite(j, name); ok {
			found = append(found, o)
		}
	}
	return found
}

// lease finds a later day of the feed that runs now: a restatement rewrites the tables that this run writes, too. Earlier days are
// waited for anyway, but not by a retraction.
func (p planner) lease(j *entry) (obstacle, bool) {
	for _, day := range j.lane.running {
		if day > j.Day || j.Retract {
			return obstacle{kind: WhyLease, text: fmt.Sprintf("%s %s, which runs", j.Feed, day)}, true
		}
	}
	return obstacle{}, false
}

// earlierDay finds the last earlier day of the feed that has not been processed, if any: a job, or a day that has files but none.
func (p planner) earlierDay(j *entry, feed Feed) (obstacle, bool) {
	landed := j.lane.landed
	k, _ := slices.BinarySearch(landed, j.Day)
	if k == 0 || j.before != nil && j.before.Day > landed[k-1] {
		if j.before == nil {
			return obstacle{}, false
		}
		return standing(WhyEarlierDay, j.Feed+" "+string(j.before.Day), j.before.State), true
	}
	before := ID{j.Feed, landed[k-1]}
	name := j.Feed + " " + string(before.Day)
	next := "put what it lacks, or give it up: " + p.Command(Cancel, before)
	if p.Now.Before(feed.deadline(j.Day, j.CreatedAt, p.Zone)) {
		return obstacle{kind: WhyEarlierDay, text: name + ", which is not complete", next: next}, true
	}
	return obstacle{kind: WhyEarlierDay, next: next, text: fmt.Sprintf("%s has files but is not complete: complete it, or give it up with %s", name, p.Command(Cancel, before)), blocks: true, alert: true}, true
}

// prerequisite looks at the job of another feed for the same day, unless it is done.
func (p planner) prerequisite(j *entry, name string) (obstacle, bool) {
	other := p.find(ID{name, j.Day})
	switch {
	case other != nil && other.Done():
		return obstacle{}, false
	case other != nil:
		return standing(WhyPrerequisite, name, other.State), true
	case p.Now.Before(p.Feeds[name].deadline(j.Day, j.CreatedAt, p.Zone)):
		return obstacle{kind: WhyPrerequisite, text: name}, true
	}
	return obstacle{kind: WhyPrerequisite, text: fmt.Sprintf("prerequisite %s did not come: deliver its day", name), blocks: true, alert: true}, true
}

// standing says what the state of a job means for those behind it.
func standing(kind WhyKind, name string, s State) obstacle {
	switch s {
	case Waiting, Ready, Running, Succeeded:
		return obstacle{kind: kind, text: name}
	case Held:
		return obstacle{kind: kind, text: name + ", which is held"}
	case Failed, Dead, Blocked, Cancelled:
	}
	return obstacle{kind: kind, text: fmt.Sprintf("%s is %s", name, s), blocks: true}
}

// measure finds the path of every open job. The last days come first, so that each waits only for what is known, or is of its own day.
func (p planner) measure() {
	jobs := p.open()
	slices.SortFunc(jobs, func(a, b *entry) int { return cmp.Compare(b.Day, a.Day) })
	for _, j := range jobs {
		p.path(j)
	}
}

func (p planner) path(j *entry) time.Duration {
	if j.measured {
		return j.path
	}
	var longest time.Duration
	for _, other := range p.dependants(j) {
		longest = max(longest, p.path(other))
	}
	j.path, j.measured = sizing.Estimate(j.Sizing.Bytes)+longest, true
	return j.path
}

// dependants returns the open jobs that wait for j directly: the same day of feeds that need it, and the next day of its own.
func (p planner) dependants(j *entry) []*entry {
	var found []*entry
	for _, name := range p.needing[j.Feed] {
		if other := p.find(ID{name, j.Day}); other != nil && other.State.Open() {
			found = append(found, other)
		}
	}
	if j.next != nil {
		found = append(found, j.next)
	}
	return found
}

// MissingDays returns the days of a feed, before day, that have files in the landing bucket but no job on the board; it is what
// Board.Landed is made of. The keys are those that landed after the feed's last day.
func MissingDays(files []File, jobs map[ID]Job) map[string][]Day {
	days := map[ID]bool{}
	for _, f := range files {
		if _, ok := jobs[f.ID]; !ok && f.Name != Marker {
			days[f.ID] = true
		}
	}
	landed := map[string][]Day{}
	for _, id := range slices.SortedFunc(maps.Keys(days), func(a, b ID) int { return cmp.Compare(a.String(), b.String()) }) {
		landed[id.Feed] = append(landed[id.Feed], id.Day)
	}
	return landed
}
