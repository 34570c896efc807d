package driver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
)

// SweepLedger is the part of the ledger that sweeps need.
type SweepLedger interface {
	Days(ctx context.Context, feed string, from, to job.Day) (map[job.ID]job.Job, error)
	Recorded(ctx context.Context, files []job.File) ([]job.File, error)
	Looked(ctx context.Context, jobs []job.Job) error
	Pass(ctx context.Context) (ledger.Pass, error)
	SavePass(ctx context.Context, was, is ledger.Pass) error
}

const (
	// passEvery is how often a pass through the whole landing bucket begins: late files of days long closed are found by nothing else.
	passEvery = time.Hour
	// sweepBudget is how long each part of a sweep may take of one invocation, so that the polling driver's next round does not wait for it.
	sweepBudget = 10 * time.Second
	// manyFiles is when a day's recorded files are read with one query rather than with those of other days.
	manyFiles = 100
)

func (i Intake) limit(ctx context.Context) (over func() bool) {
	if i.budget != nil {
		return i.budget(ctx)
	}
	return within(ctx, 3, sweepBudget)
}

// Tick takes in what is in the landing bucket without an event: of every feed the days from its last one on, and of the whole bucket the
// next part, where a pass through it is due or under way. Each has a share of the time that the function has left. It reports whether a job
// was created or opened again. What fails with one day keeps no other back; a pass in which something failed is made again at once.
func (i Intake) Tick(ctx context.Context) (bool, error) {
	recent, err := i.Sweep(ctx, false)
	old, failed := i.pass(ctx)
	return recent || old, errors.Join(err, failed)
}

// Sweep takes in what is in the landing bucket without an event: of every feed the days from its last one on, for as long as one invocation
// of a function may take for it, or, when full, everything, however long that takes.
func (i Intake) Sweep(ctx context.Context, full bool) (bool, error) {
	feeds, err := i.Ledger.Feeds(ctx)
	if err != nil {
		return false, err
	}
	if full {
		return i.all(ctx, feeds, "", "", func() bool { return false })
	}
	over := i.limit(ctx)
	changed := false
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(feeds)) {
		last, err := i.Ledger.LastDay(ctx, name)
		if err != nil {
			return changed, errors.Join(append(faults, err)...)
		}
		did, err := i.all(ctx, feeds, name+"/", name+"/"+string(last), over)
		changed = changed || did
		faults = append(faults, err)
	}
	return changed, errors.Join(faults...)
}

// all takes in all objects with a prefix after a key, unless the time is over before.
func (i Intake) all(ctx context.Context, feeds map[string]job.Feed, prefix, after string, over func() bool) (changed bool, err error) {
	var faults []error
	for !over() {
		p, err := i.page(ctx, feeds, prefix, after, over)
		changed, faults = changed || p.changed, append(faults, p.faults...)
		if err != nil || p.last {
			return changed, errors.Join(append(faults, err)...)
		}
		after = p.until
	}
	return changed, errors.Join(faults...)
}

// pass goes on with the pass through the whole bucket, from where the invocation before this one left it, or begins one that is due.
// How far it came is saved after each page: whoever dies in between, or runs out of time, leaves the rest to the next one.
func (i Intake) pass(ctx context.Context) (changed bool, err error) {
	was, err := i.Ledger.Pass(ctx)
	if err != nil {
		return false, err
	}
	is := was
	if is.Began.IsZero() {
		since := i.Now().Sub(is.Last)
		if since >= 0 && since < passEvery && !i.always { // else it was never, or will be once the clock is right again
			return false, nil
		}
		is.Began = i.Now()
	}
	feeds, err := i.Ledger.Feeds(ctx)
	if err != nil {
		return false, err
	}
	over := i.limit(ctx)
	var faults []error
	for {
		p, err := i.page(ctx, feeds, "", is.After, over)
		changed, faults = changed || p.changed, append(faults, p.faults...)
		is.Failed = is.Failed || len(p.faults) > 0
		if err != nil {
			return changed, errors.Join(append(faults, err)...)
		}
		is.After = p.until
		if p.last {
			if !is.Failed {
				is.Last = is.Began
			}
			is.Began, is.After, is.Failed = time.Time{}, "", false
		}
		err = i.Ledger.SavePass(ctx, was, is)
		if lost(ctx, err) { // another one goes on with it
			return changed, errors.Join(faults...)
		}
		if err != nil || p.last || over() {
			return changed, errors.Join(append(faults, err)...)
		}
		was = is
	}
}

// page is what became of a page of the listing.
type page struct {
	until   string // until is the key up to which all was done.
	last    bool   // last: there is nothing after it.
	changed bool
	faults  []error
}

// listed is a day in a page of the listing.
type listed struct {
	id      job.ID
	objects []job.File
	digest  string
}

// page takes in a page of the listing after a key, whole days only, and at least one of them. Days in whose listing nothing changed since all
// was found to be in order cost no call of their own.
func (i Intake) page(ctx context.Context, feeds map[string]job.Feed, prefix, after string, over func() bool) (page, error) {
	objects, next, err := i.Landing.Page(ctx, prefix, after)
	if err != nil {
		return page{}, err
	}
	p := page{until: next, last: next == ""}
	var days []listed
	for _, f := range objects {
		id, name, err := i.check(feeds, f)
		switch {
		case err != nil && id == (job.ID{}):
			if fault := i.reject(ctx, feeds, id, f, err); fault != nil {
				p.faults = append(p.faults, fault)
			}
		case err == nil && name == "":
		case len(days) > 0 && days[len(days)-1].id == id:
			days[len(days)-1].objects = append(days[len(days)-1].objects, f)
		default:
			days = append(days, listed{id: id, objects: []job.File{f}})
		}
	}
	if n := len(days); n > 0 && !p.last {
		// The page may end in the midst of its last day, which is the next page's first.
		if n > 1 {
			p.until = days[n-1].id.String() + "/"
			days = days[:n-1]
		} else {
			p.until = days[0].id.String() + "0" // what comes after "/"
			days[0].objects = nil               // it is larger than a page
		}
	}
	if err := i.look(ctx, feeds, days, over, &p); err != nil {
		return page{changed: p.changed, faults: p.faults}, err
	}
	return p, nil
}

// look takes in days, until the time is over.
func (i Intake) look(ctx context.Context, feeds map[string]job.Feed, days []listed, over func() bool, p *page) error {
	jobs := map[job.ID]job.Job{}
	for first := 0; first < len(days); {
		end := first
		for end < len(days) && days[end].id.Feed == days[first].id.Feed {
			end++
		}
		found, err := i.Ledger.Days(ctx, days[first].id.Feed, days[first].id.Day, days[end-1].id.Day)
		if err != nil {
			return err
		}
		maps.Copy(jobs, found)
		first = end
	}
	var known []job.File // known are the objects of closed days that nobody looked at like this before.
	due := slices.DeleteFunc(days, func(d listed) bool {
		j, has := jobs[d.id]
		return has && mayRest(j, d.objects) && j.Looked == digest(j, d.objects)
	})
	for n, d := range due {
		if j, has := jobs[d.id]; has && mayRest(j, d.objects) {
			due[n].digest = digest(j, d.objects)
			// Of those that an older release left there are all at once. That a file is gone of one is seen when its listing or its job changes.
			if j.Done() && j.Looked == "" && len(d.objects) <= manyFiles {
				known = append(known, d.objects...)
			}
		}
	}
	recorded := map[job.ID][]job.File{}
	found, err := i.Ledger.Recorded(ctx, known)
	if err != nil {
		return err
	}
	for _, f := range found {
		recorded[f.ID] = append(recorded[f.ID], f)
	}
	var looked []job.Job
	for n, d := range due {
		if n > 0 && over() {
			p.until, p.last = d.id.String()+"/", false
			break
		}
		j := jobs[d.id]
		if d.digest != "" {
			files, have := recorded[d.id]
			if !have {
				if files, err = i.Ledger.Files(ctx, d.id); err != nil {
					p.faults = append(p.faults, err)
					continue
				}
			}
			if i.inOrder(j, files, d.objects) {
				j.Looked = d.digest
				looked = append(looked, j)
				continue
			}
		}
		did, err := i.takeIn(ctx, feeds, d.id, d.objects, nil)
		p.changed = p.changed || did
		if err != nil {
			p.faults = append(p.faults, err)
		}
	}
	if err := i.Ledger.Looked(ctx, looked); err != nil {
		slog.WarnContext(ctx, "days are looked at once more", "error", err.Error())
	}
	return nil
}

// mayRest reports whether a day with a job may need no look while nothing about it changes. A failed, dead or retracted one may be complete later,
// and what cannot be read is looked at until it is gone.
func mayRest(j job.Job, objects []job.File) bool {
	return objects != nil && j.State != job.Failed && j.State != job.Dead && !j.TakenBack() && j.Unread.ID == "" && !slices.ContainsFunc(objects, func(f job.File) bool {
		_, _, err := job.ParseKey(f.Key)
		return err != nil
	})
}

// inOrder reports whether nothing is left to do for the files of a day that has a job, until its listing or the job changes: all are recorded
// as they are, and those of a closed day are settled and told of.
func (i Intake) inOrder(j job.Job, recorded, objects []job.File) bool {
	return !news(recorded, objects) && !slices.ContainsFunc(recorded, func(f job.File) bool {
		return !j.Void(f) && j.Done() && f.State == job.Landed || !j.Void(f) && f.State == job.Late && f.Name != job.Marker && f.AlertedAt.IsZero()
	})
}

// digest is of a day's listing, and of all that may make another look at the same listing find something to do.
func digest(j job.Job, objects []job.File) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %d\n", j.State, j.Token, j.Revision)
	for _, f := range slices.SortedFunc(slices.Values(objects), func(a, b job.File) int { return cmp.Compare(a.Key, b.Key) }) {
		fmt.Fprintf(h, "%q %q %q %d %d\n", f.Key, f.VersionID, f.ETag, f.Bytes, f.LandedAt.Unix())
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}
