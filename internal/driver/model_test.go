package driver

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sluice-data/sluice/internal/job"
)

// model is what the outside of a country may show: which days were delivered and asked for, which runs are on an engine, and what
// readers see. It knows no ledger, no queue and no state; everything that happens outside is told to it, and it says what must not be.
type model struct {
	feeds    map[string]job.Feed
	parallel int
	wanted   map[job.ID]int64           // the revision that people want of a day; 1 when it was delivered
	readable map[job.ID]map[int64]int64 // which run's output readers got, by revision
	said     map[job.ID]int64           // the last revision whose run could say that it is published
	loaded   map[job.ID]int64           // the revision whose rows BigQuery holds
	active   map[job.ID]int64           // runs that an engine computes, by token
	tokens   map[job.ID]int64           // the largest token seen
	stopped  map[job.ID]bool            // held or cancelled before it started
	unwanted map[job.ID]bool            // cancelled: its last output may stay the one
	unread   map[job.ID]bool            // an object that cannot be read came before its day was complete, and is there yet
	emptied  map[job.ID]int64           // the last revision that took the day back from readers
	taking   map[job.ID]int64           // the revision that a run is to take the day back with; 0: none is
	gone     map[job.ID]bool            // retracted, and not delivered again
	void     map[job.ID]map[string]bool // versions of files that nothing may read any more
	voiding  map[job.ID][]string        // versions that become void once a run took their day back
	acts     map[job.ID]int             // how many acts the model knows of
	faults   []string

	cancelled map[job.ID]int64 // the run that somebody was told publishes nothing, because it was cancelled
}

func newModel(feeds map[string]job.Feed, parallel int) *model {
	return &model{feeds: feeds, parallel: parallel, wanted: map[job.ID]int64{}, readable: map[job.ID]map[int64]int64{}, said: map[job.ID]int64{}, loaded: map[job.ID]int64{},
		active: map[job.ID]int64{}, tokens: map[job.ID]int64{}, stopped: map[job.ID]bool{}, unwanted: map[job.ID]bool{}, unread: map[job.ID]bool{}, cancelled: map[job.ID]int64{},
		acts: map[job.ID]int{}, emptied: map[job.ID]int64{}, taking: map[job.ID]int64{}, gone: map[job.ID]bool{}, void: map[job.ID]map[string]bool{}, voiding: map[job.ID][]string{}}
}

func (m *model) wrong(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// delivered: all files of a day are there. After a retraction that is a new revision.
func (m *model) delivered(id job.ID) {
	if m.gone[id] {
		m.gone[id], m.stopped[id], m.unwanted[id] = false, false, false
		m.wanted[id]++
	}
	m.wanted[id] = max(m.wanted[id], 1)
}

// newest is the last revision that readers got of a day; 0: none.
func (m *model) newest(id job.ID) int64 {
	return slices.Max(append(slices.Collect(maps.Keys(m.readable[id])), 0))
}

func (m *model) closed(id job.ID) bool { return m.newest(id) > m.emptied[id] }

// retracted: a person took a day back, with the versions of files that were there; at once where nothing was published of it.
func (m *model) retracted(id job.ID, revision int64, atOnce bool, versions []string) {
	m.gone[id], m.voiding[id] = true, versions
	if atOnce {
		m.takes(id)
	} else {
		m.taking[id], m.unwanted[id] = revision, false
	}
}

// takes: a day was taken back.
func (m *model) takes(id job.ID) {
	if m.void[id] == nil {
		m.void[id] = map[string]bool{}
	}
	for _, v := range m.voiding[id] {
		m.void[id][v] = true
	}
	m.taking[id], m.voiding[id] = 0, nil
}

// keeps: a person cancelled what was to be done to a day, also its retraction.
func (m *model) keeps(id job.ID) {
	m.gone[id], m.taking[id], m.voiding[id] = false, 0, nil
}

// started: an engine begins a run that it did not have.
func (m *model) started(id job.ID, token int64) {
	_, twice := m.active[id]
	switch {
	case twice:
		m.wrong("%s#%d starts while #%d runs", id, token, m.active[id])
	case len(m.active) >= m.parallel:
		m.wrong("%s#%d is run number %d at once", id, token, len(m.active)+1)
	case token <= m.tokens[id]:
		m.wrong("%s#%d starts after #%d", id, token, m.tokens[id])
	case m.wanted[id] == 0:
		m.wrong("%s#%d starts, but nobody delivered it", id, token)
	case m.said[id] >= m.wanted[id]:
		m.wrong("%s#%d starts, but revision %d is closed", id, token, m.said[id])
	case m.unread[id] && m.taking[id] == 0:
		m.wrong("%s#%d starts, but one of its files cannot be read and nobody decided to go without", id, token)
	case m.stopped[id]:
		m.wrong("%s#%d starts, but somebody stopped it", id, token)
	}
	for _, p := range m.feeds[id.Feed].Prerequisites {
		if m.taking[id] == 0 && !m.closed(job.ID{Feed: p, Day: id.Day}) {
			m.wrong("%s#%d starts before %s", id, token, p)
		}
	}
	for other := range m.active {
		if other.Feed == id.Feed && other != id {
			m.wrong("%s#%d starts while %s runs", id, token, other)
		}
	}
	m.active[id], m.tokens[id] = token, max(m.tokens[id], token)
}

// ended: an engine says that a run is over.
func (m *model) ended(id job.ID, token int64) {
	if m.active[id] == token {
		delete(m.active, id)
	}
}

// published: a run made its output, or that of a dead run which it resumes and whose token is given, what readers see.
func (m *model) published(id job.ID, revision, token, run int64, empty bool) {
	if run == m.cancelled[id] {
		m.wrong("%s#%d publishes, after it was said that it is cancelled", id, run)
	}
	if m.readable[id] == nil {
		m.readable[id] = map[int64]int64{}
	}
	switch by := m.readable[id][revision]; {
	case by != 0 && by != token:
		m.wrong("%s revision %d is published by #%d and by #%d", id, revision, by, token)
	case revision > m.wanted[id]:
		m.wrong("%s revision %d is published, but %d is wanted", id, revision, m.wanted[id])
	}
	m.readable[id][revision] = token
	if empty {
		m.emptied[id] = revision
		m.takes(id)
	}
}

// missing are the days that were delivered or asked for, and that readers do not have, or BigQuery not the newest that readers have.
func (m *model) missing() []string {
	var days []string
	for id, revision := range m.wanted {
		newest := m.newest(id)
		if newest < revision && !(m.unwanted[id] && newest > 0) && !m.gone[id] || m.loaded[id] != newest {
			days = append(days, fmt.Sprintf("%s revision %d of %d, %d in BigQuery", id, newest, revision, m.loaded[id]))
		}
	}
	return slices.Sorted(slices.Values(days))
}
