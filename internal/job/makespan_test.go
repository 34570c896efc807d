package job

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/sizing"
)

// graph is some days of feeds that need each other, all delivered at once, and how long each job really takes.
type graph struct {
	board Board
	takes map[ID]time.Duration
}

// randomGraph makes a graph of 2 to 12 feeds and 1 to 5 days; a job takes up to half more or less than estimated by wrong times a half.
func randomGraph(r *rand.Rand, wrong float64) graph {
	g := graph{Board{Now: at(noon), Zone: time.UTC, Parallel: 5, Feeds: map[string]Feed{}, LastDay: map[string]Day{}, Jobs: map[ID]Job{}}, map[ID]time.Duration{}}
	density := r.Float64()
	names := []string{}
	for i := range 2 + r.IntN(11) {
		f := Feed{Name: fmt.Sprintf("feed-%02d", i)}
		for _, p := range names {
			if r.Float64() < density/2 {
				f.Prerequisites = append(f.Prerequisites, p)
			}
		}
		g.board.Feeds[f.Name] = f
		names = append(names, f.Name)
	}
	day := d1
	for range 1 + r.IntN(5) {
		for _, name := range names {
			j := Job{ID: ID{name, day}, State: Waiting, Revision: 1, CreatedAt: at(noon)}
			j.Sizing.Bytes = int64(1e9 * 60 * r.ExpFloat64())
			g.board.Jobs[j.ID] = j
			g.takes[j.ID] = time.Duration(float64(sizing.Estimate(j.Sizing.Bytes)) * (1 + wrong*(r.Float64()-0.5)))
		}
		day = day.Next()
	}
	return g
}

// bound is what no schedule on five slots beats: the longest chain, or the work by five.
func (g graph) bound() time.Duration {
	memo := map[ID]time.Duration{}
	var ends func(id ID) time.Duration
	ends = func(id ID) time.Duration {
		if known, ok := memo[id]; ok {
			return known
		}
		var begins time.Duration
		for _, p := range g.board.Feeds[id.Feed].Prerequisites {
			begins = max(begins, ends(ID{p, id.Day}))
		}
		for other := range g.board.Jobs {
			if other.Feed == id.Feed && other.Day.Next() == id.Day {
				begins = max(begins, ends(other))
			}
		}
		memo[id] = begins + g.takes[id]
		return memo[id]
	}
	var longest, work time.Duration
	for id := range g.board.Jobs {
		longest, work = max(longest, ends(id)), work+g.takes[id]
	}
	return max(longest, work/5)
}

// play runs a graph to its end and returns how long that took. With fifo, the oldest ready job goes first.
func (g graph) play(fifo bool) time.Duration {
	b := g.board
	b.Jobs = map[ID]Job{}
	for id, j := range g.board.Jobs {
		b.Jobs[id] = j
	}
	start, ends := b.Now, map[ID]time.Time{}
	set := func(id ID, state State) {
		j := b.Jobs[id]
		j.State, j.Reason = state, ""
		b.Jobs[id] = j
	}
	for {
		for moved := true; moved; {
			moved = false
			var begin []ID
			if b.Parallel = 5; fifo {
				b.Parallel = len(b.Jobs) + 5 // all that could start
			}
			for _, d := range Plan(b) {
				if d.To == Running {
					begin = append(begin, d.ID)
				} else if d.To != d.From {
					set(d.ID, d.To)
					moved = true
				}
			}
			if moved {
				continue // as the driver does: slots are given when everything that can be ready is
			}
			if fifo {
				slices.SortFunc(begin, func(a, b ID) int { return strings.Compare(string(a.Day)+a.Feed, string(b.Day)+b.Feed) })
				begin = begin[:min(len(begin), 5-len(b.Slots))]
			}
			for _, id := range begin {
				set(id, Running)
				b.Slots = append(b.Slots, id)
				ends[id] = b.Now.Add(g.takes[id])
				moved = true
			}
		}
		if len(b.Slots) == 0 {
			return b.Now.Sub(start)
		}
		next := slices.MinFunc(b.Slots, func(x, y ID) int { return ends[x].Compare(ends[y]) })
		b.Now = ends[next]
		set(next, Succeeded)
		b.LastDay[next.Feed] = max(b.LastDay[next.Feed], next.Day)
		b.Slots = slices.DeleteFunc(slices.Clone(b.Slots), func(id ID) bool { return id == next })
	}
}

// TestMakespanIsNearWhatNoScheduleBeats measures the plan on random graphs; MAKESPAN=2700 is the measurement of bench/makespan.md.
func TestMakespanIsNearWhatNoScheduleBeats(t *testing.T) {
	graphs := 60
	_, _ = fmt.Sscan(os.Getenv("MAKESPAN"), &graphs)
	for _, c := range []struct {
		name      string
		wrong     float64
		fifo      bool
		mean, p95 float64 // limits; 0: none
	}{
		{"longest remaining path first", 0, false, 1.02, 1.05},
		{"longest remaining path first, estimates up to 50% wrong", 1, false, 1.10, 0},
		{"first in, first out", 0, true, 0, 0},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		var ratios []float64
		sum := 0.0
		for range graphs {
			g := randomGraph(r, c.wrong)
			g.board.LastDay = map[string]Day{}
			ratio := float64(g.play(c.fifo)) / float64(g.bound())
			ratios = append(ratios, ratio)
			sum += ratio
		}
		slices.Sort(ratios)
		mean, p95 := sum/float64(graphs), ratios[graphs*95/100]
		t.Logf("| %s | %.4f | %.4f | %.4f |", c.name, mean, p95, ratios[len(ratios)-1])
		if c.mean > 0 && mean > c.mean || c.p95 > 0 && p95 > c.p95 {
			t.Errorf("%s: mean %.4f, 95th percentile %.4f of %d graphs", c.name, mean, p95, graphs)
		}
	}
}
