package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/metrics"
	"github.com/sluice-data/sluice/internal/sizing"
)

// IntakeLedger is the part of the ledger that an Intake needs.
type IntakeLedger interface {
	Feeds(ctx context.Context) (map[string]job.Feed, error)
	LastDay(ctx context.Context, feed string) (job.Day, error)
	Get(ctx context.Context, id job.ID) (job.Job, error)
	Create(ctx context.Context, id job.ID, size sizing.Decision, unread job.Unread, now time.Time) (bool, error)
	SaveUnread(ctx context.Context, id job.ID, was, is job.Unread) error
	Reopen(ctx context.Context, j job.Job, size sizing.Decision, reason string) error
	Files(ctx context.Context, id job.ID) ([]job.File, error)
	File(ctx context.Context, f job.File) (job.File, bool, error)
	RecordFile(ctx context.Context, f, was job.File) (bool, error)
	MarkFile(ctx context.Context, f job.File, from job.FileState) (bool, error)
	Accept(ctx context.Context, key string) error
	SweepLedger
	FileLedger
}

// FileLedger is the part of the ledger that telling of files needs.
type FileLedger interface {
	FileAlerted(ctx context.Context, f job.File, now time.Time) error
	Faults
}

// Intake records what landed, and creates the job of a day that is complete.
//
// Events only say where to look: what is there is read from the bucket, after what the ledger has of it, so that doubled, disordered and
// lost events make no difference. Where two look at the same time, the sequencers of the events say which of them saw the newer object.
type Intake struct {
	Ledger  IntakeLedger
	Landing Landing
	Alerts  Alerts
	Zone    *time.Location
	Now     Clock

	budget func(ctx context.Context) (over func() bool) // budget is how long each part of a sweep may take, sweepBudget by default.
	always bool                                         // always: a pass begins at every tick.
}

// Keys takes in the days that keys belong to. It tells whether a job was created or opened again, and the fault of each key, nil where
// there was none. A key that does not help is recorded and reported, and keeps none of the others back.
func (i Intake) Keys(ctx context.Context, keys []job.File) (bool, []error) {
	faults := make([]error, len(keys))
	feeds, err := i.Ledger.Feeds(ctx)
	if err != nil {
		for n := range keys {
			faults[n] = err
		}
		return false, faults
	}
	days := map[job.ID][]int{}
	told := events{}
	for n, f := range keys {
		id, name, err := i.check(feeds, f)
		if err != nil {
			faults[n] = i.reject(ctx, feeds, id, f, err)
		}
		if name != "" || err != nil && id != (job.ID{}) { // also the day of a file that cannot be read: it is not to close in silence
			days[id] = append(days[id], n)
			told.add(f)
		}
	}
	changed := false
	for _, id := range slices.SortedFunc(maps.Keys(days), compareIDs) {
		did, err := i.takeIn(ctx, feeds, id, nil, told)
		changed = changed || did
		for _, n := range days[id] {
			faults[n] = errors.Join(faults[n], err)
		}
	}
	return changed, faults
}

// events are the sequencers of events by the object that they tell of.
type events map[string]string

func (e events) add(f job.File) {
	if f.VersionID != "" {
		e[f.Key+"/"+f.VersionID] = f.Sequencer
	}
}

func (e events) of(f job.File) string { return e[f.Key+"/"+f.VersionID] }

// check reads the key of an object. Its error says why the key is no good; the ID is then that of the day in whose folder the object is, zero
// when it is in none that is accepted of a feed of the country. An object that stands for a folder has no name and is no error.
func (i Intake) check(feeds map[string]job.Feed, f job.File) (job.ID, string, error) {
	if f.IsFolder() {
		return job.ID{}, "", nil
	}
	id, name, err := job.ParseKey(f.Key)
	if err != nil {
		id, _ := job.DayOf(f.Key)
		if _, known := feeds[id.Feed]; !known || id.Day.Check(i.Now(), i.Zone) != nil {
			id = job.ID{}
		}
		return id, "", err
	}
	if err := id.Day.Check(i.Now(), i.Zone); err != nil {
		return job.ID{}, "", fmt.Errorf("%w; put the object under the day that it is of", err)
	}
	if _, known := feeds[id.Feed]; !known {
		return job.ID{}, "", fmt.Errorf("feed %q is not deployed in this country; add it to the stack, or put the file under one of %s", id.Feed,
			strings.Join(slices.Sorted(maps.Keys(feeds)), ", "))
	}
	return id, name, nil
}

// reject records a key that is no good, and reports it: the first one of a day, of a feed, of no feed, or of no day, for all
// that come with it or soon after. ID is the day's in whose folder the object is, zero when it is in none.
func (i Intake) reject(ctx context.Context, feeds map[string]job.Feed, id job.ID, f job.File, why error) error {
	f.Key = storable(f.Key)
	f.ID, f.State, f.Name, f.Reason = id, job.Rejected, f.Key, why.Error()
	if f.LandedAt.IsZero() {
		f.LandedAt = i.Now()
	}
	known, is, err := i.Ledger.File(ctx, f)
	if err != nil {
		return err
	}
	again := is && id != (job.ID{}) && known.VersionID != f.VersionID && f.LandedAt.After(known.LandedAt) // it was put once more
	if is && !again && !i.report().forgotten(known) {
		return nil
	}
	kind, next := "file.rejected", "put the file under a key that names feed, day and file; the object is still in the landing bucket. Others that come soon after are not told of: sluice files lists them all"
	if id != (job.ID{}) && f.Bytes > 0 {
		next = job.UnreadNext + ". A day that runs or is closed already is not changed by it: restate it then. Others that come to the day soon after are not told of: sluice files lists them all"
	}
	if is && !again {
		return i.report().tell(ctx, f, kind, next)
	}
	if wrote, err := i.Ledger.RecordFile(ctx, f, known); err != nil || !wrote {
		return err
	}
	// Whoever sends hundreds of names that are no feeds does one thing wrong.
	fault := kind + "/no key"
	feed, _, _ := strings.Cut(f.Key, "/")
	if id != (job.ID{}) {
		fault = kind + "/" + id.String()
	} else if _, deployed := feeds[feed]; deployed {
		fault = kind + "/" + feed
	} else if _, _, err := job.ParseKey(f.Key); err == nil {
		fault = kind + "/no feed"
	}
	return i.report().once(ctx, fault, f, kind, next)
}

// storable is what the ledger and a message can keep of a key: text, and no more of it than a key of S3 or DynamoDB may have.
func storable(key string) string {
	key = strings.ToValidUTF8(key, "?")
	return strings.ToValidUTF8(key[:min(len(key), 1024)], "")
}

// GaveUp tells people of an event that is not tried any more, of a feed once as long as such failures last. The key is that of the event's
// object, "" when nobody could read one.
func (i Intake) GaveUp(ctx context.Context, key string, why error) error {
	id, _, _ := job.ParseKey(key) // what the key does not say cannot be told
	first, before, err := i.report().first(ctx, "receive-file/"+id.Feed)
	if err != nil || !first {
		return err
	}
	return i.Alerts.Alert(ctx, messages.Event{Type: "function.failed", Source: "receive-file", Feed: id.Feed, Day: string(id.Day), File: storable(key), Reason: why.Error() + before,
		Next: "the log of receive-file says more; mend the cause, then sluice redrive --dead-letters, which has the event"})
}

// fileAlert tells people of a file, once.
type fileAlert struct {
	ledger FileLedger
	alerts Alerts
	now    Clock
}

func (a fileAlert) tell(ctx context.Context, f job.File, kind, next string) error {
	e := messages.Event{Type: kind, Feed: f.ID.Feed, Day: string(f.ID.Day), File: f.Key, Reason: f.Reason, Next: next}
	if err := a.alerts.Alert(ctx, e); err != nil {
		return err
	}
	return a.ledger.FileAlerted(ctx, f, a.now())
}

// once tells of a file unless people were told of the same fault with another one.
func (a fileAlert) once(ctx context.Context, fault string, f job.File, kind, next string) error {
	first, before, err := a.first(ctx, fault)
	if err != nil {
		return err
	}
	if !first {
		return a.ledger.FileAlerted(ctx, f, a.now())
	}
	f.Reason += before
	return a.tell(ctx, f, kind, next)
}

// first remembers that something failed, and tells whether people are to be told of it, with how often it failed before. Of those who come at
// the same time one is the first: it is remembered before it is told. Who dies in between leaves a file that was not told of, which
// is told of later.
func (a fileAlert) first(ctx context.Context, fault string) (is bool, before string, err error) {
	return firstOf(ctx, a.ledger, a.now(), fault)
}

func firstOf(ctx context.Context, book Faults, at time.Time, fault string) (is bool, before string, err error) {
	for range rounds {
		was, err := book.Fault(ctx, fault)
		if err != nil {
			return false, "", err
		}
		now, tell := was.Again(at)
		err = book.SaveFault(ctx, fault, was, now)
		if err == nil {
			return tell, was.Before(), nil
		}
		if !lost(ctx, err) {
			return false, "", err
		}
	}
	return false, "", nil // enough others remember it
}

// forgotten tells whether whoever recorded a file must have died before he reported it.
func (a fileAlert) forgotten(f job.File) bool {
	return f.AlertedAt.IsZero() && a.now().Sub(f.LandedAt) >= tellPatience
}

// late tells of a file that came to a closed day: of the first one, for all that come with it or soon after.
func (a fileAlert) late(ctx context.Context, f job.File) error {
	if f.Name == job.Marker {
		return nil // it is of no interest without its files, which are reported
	}
	const kind = "file.late"
	return a.once(ctx, kind+"/"+f.ID.String(), f, kind, lateNext)
}

const lateNext = "the file, and others that come to the day, take part only when the day is restated; until then they stay in the landing bucket: sluice files lists them"

func (i Intake) report() fileAlert { return fileAlert{i.Ledger, i.Alerts, i.Now} }

// LateReason is the reason of a file that came to a closed day.
const LateReason = "the day is closed: it succeeded without this file"

// Day takes in a day of a feed that is deployed, also one that would be rejected now but has a job. It reports whether a job was created or
// opened again.
func (i Intake) Day(ctx context.Context, id job.ID) (bool, error) {
	feeds, err := i.Ledger.Feeds(ctx)
	if err != nil {
		return false, err
	}
	if _, deployed := feeds[id.Feed]; !deployed {
		return false, nil
	}
	if id.Day.Check(i.Now(), i.Zone) != nil {
		if _, err := i.Ledger.Get(ctx, id); errors.Is(err, ledger.ErrNoJob) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return i.takeIn(ctx, feeds, id, nil, nil)
}

// Missing says what a day that has no job, or was given up, lacks to be complete; "" when it is complete.
func (i Intake) Missing(ctx context.Context, id job.ID) (string, error) {
	feeds, err := i.Ledger.Feeds(ctx)
	if err != nil {
		return "", err
	}
	found, err := i.Landing.List(ctx, id.String()+"/", "")
	if err != nil {
		return "", err
	}
	var files []job.File
	for _, f := range found {
		if _, name, err := job.ParseKey(f.Key); err == nil {
			f.Name = name
			files = append(files, f)
		}
	}
	return feeds[id.Feed].Missing(id.Day, files, i.Now(), i.Zone), nil
}

// takeIn takes in a day. Seen is what a sweep saw of it in the bucket, nil when nobody looked yet.
func (i Intake) takeIn(ctx context.Context, feeds map[string]job.Feed, id job.ID, seen []job.File, told events) (bool, error) {
	for attempt := 1; ; attempt++ {
		changed, err := i.day(ctx, feeds, id, seen, told)
		if !lost(ctx, err) || attempt == rounds { // somebody recorded something else meanwhile: look again
			return changed, err
		}
	}
}

// day records the objects of one day, and creates its job or opens it again when there is reason to. It returns ledger.ErrChanged when
// somebody else recorded another object of one of its files meanwhile.
func (i Intake) day(ctx context.Context, feeds map[string]job.Feed, id job.ID, objects []job.File, told events) (bool, error) {
	feed := feeds[id.Feed]
	// The job is read before its files: a retraction marks the files first.
	j, err := i.Ledger.Get(ctx, id)
	hasJob := !errors.Is(err, ledger.ErrNoJob)
	if hasJob && err != nil {
		return false, err
	}
	closed := hasJob && j.Done()
	recorded, err := i.Ledger.Files(ctx, id)
	if err != nil {
		return false, err
	}
	if objects == nil || news(recorded, objects) {
		// What is looked at after the ledger was read is at least as new as what the ledger has.
		if objects, err = i.Landing.List(ctx, id.String()+"/", ""); err != nil {
			return false, err
		}
	}
	known := map[string]job.File{}
	for _, f := range recorded {
		known[f.Name] = f
	}

	var faults []error
	var files, fresh []job.File
	overtaken := false
	gone := maps.Clone(known)
	for _, f := range objects {
		if f.IsFolder() {
			continue
		}
		_, name, err := job.ParseKey(f.Key)
		if err != nil {
			faults = append(faults, i.reject(ctx, feeds, id, f, err))
			continue
		}
		f.ID, f.Name, f.State, f.Sequencer = id, name, job.Landed, told.of(f)
		delete(gone, name)
		old, have := known[name]
		if have && sameObject(old, f) && j.Void(old) {
			continue
		}
		files = append(files, f)
		if have && sameObject(old, f) {
			faults = append(faults, i.again(ctx, old, f.Sequencer))
			continue
		}
		if closed {
			f.State, f.Reason = job.Late, LateReason
		}
		if id.Day.Check(f.LandedAt, i.Zone) != nil {
			// It was rejected while its day was in the future, and is not any more.
			if err := i.Ledger.Accept(ctx, f.Key); err != nil {
				faults = append(faults, err)
				continue
			}
		}
		wrote, err := i.Ledger.RecordFile(ctx, f, old)
		faults = append(faults, err)
		if !wrote {
			overtaken = overtaken || err == nil
			continue
		}
		slog.InfoContext(ctx, "recorded", "file", f.Key, "bytes", f.Bytes, "state", f.State, metrics.Add(i.Now(), metrics.BytesLanded, f.Bytes))
		if closed {
			faults = append(faults, i.report().late(ctx, f))
		} else {
			fresh = append(fresh, f)
		}
	}
	faults = append(faults, i.removed(ctx, gone))
	if err := errors.Join(faults...); err != nil {
		return false, err
	}
	if hasJob && !closed && len(fresh) > 0 {
		if err := i.lateAfterAll(ctx, id, fresh); err != nil {
			return false, err
		}
	}
	if overtaken {
		return false, fmt.Errorf("files of %s: %w", id, ledger.ErrChanged)
	}
	unread := job.UnreadOf(objects)
	if hasJob {
		saved, err := i.unread(ctx, j, unread)
		if err != nil {
			return false, err
		}
		opened, err := i.reopen(ctx, feed, j, files)
		return saved || opened, err
	}
	if !feed.Complete(id.Day, files, i.Now(), i.Zone) {
		return false, i.lonely(ctx, feed, known[job.Marker], files)
	}
	created, err := i.Ledger.Create(ctx, id, amount(files), unread, i.Now())
	if err == nil && !created && unread.ID != "" {
		return false, fmt.Errorf("job %s: %w", id, ledger.ErrChanged) // whoever was faster may not have seen it
	}
	if created {
		slog.InfoContext(ctx, "day complete", "job", id.String(), "files", len(files))
	}
	return created, err
}

// unread keeps on a job what of its day cannot be read, as it was seen. It tells whether that changed.
func (i Intake) unread(ctx context.Context, j job.Job, seen job.Unread) (bool, error) {
	if seen.ID == j.Unread.ID {
		return false, nil
	}
	if j.Unread.ID != "" {
		// What is looked at after the ledger was read is at least as new as what the ledger has.
		objects, err := i.Landing.List(ctx, j.ID.String()+"/", "")
		if err != nil {
			return false, err
		}
		if seen = job.UnreadOf(objects); seen.ID == j.Unread.ID {
			return false, nil
		}
	}
	err := i.Ledger.SaveUnread(ctx, j.ID, j.Unread, seen)
	if err == nil {
		slog.InfoContext(ctx, "unread", "job", j.ID.String(), "objects", seen.Text)
	}
	return err == nil, err
}

// again does what is left to do for a file that is recorded as it is in the bucket.
func (i Intake) again(ctx context.Context, old job.File, sequencer string) error {
	if old.State == job.Late && old.Name != job.Marker && i.report().forgotten(old) {
		return i.report().tell(ctx, old, "file.late", lateNext)
	}
	if old.Sequencer == "" && sequencer != "" {
		old.Sequencer = sequencer
		_, err := i.Ledger.MarkFile(ctx, old, old.State)
		return err
	}
	return nil
}

// removed records files that are not in the bucket any more; they take no part. What a run took is told of by the run.
func (i Intake) removed(ctx context.Context, gone map[string]job.File) error {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		f := gone[name]
		if from := f.State; from == job.Landed || from == job.Late {
			f.State, f.Reason = job.Removed, "the object was deleted from the landing bucket"
			_, err := i.Ledger.MarkFile(ctx, f, from)
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// news tells whether there are objects that are not recorded, or files that are recorded and not there.
func news(recorded, objects []job.File) bool {
	there := map[string]job.File{}
	for _, f := range objects {
		if _, _, err := job.ParseKey(f.Key); err == nil { // the others are recorded elsewhere
			there[f.Key] = f
		}
	}
	for _, f := range recorded {
		found, is := there[f.Key]
		if !is && (f.State == job.Removed || f.State == job.Processed) {
			continue
		}
		if !sameObject(f, found) {
			return true
		}
		delete(there, f.Key)
	}
	return len(there) > 0
}

// lonely reports a marker that is recorded, and whose files did not come within the feed's window, once.
func (i Intake) lonely(ctx context.Context, feed job.Feed, marker job.File, files []job.File) error {
	if len(files) != 1 || files[0].Name != job.Marker || marker.Name == "" || !marker.AlertedAt.IsZero() || i.Now().Before(marker.LandedAt.Add(feed.Patience())) {
		return nil
	}
	marker.Reason = "the marker " + job.Marker + " is there, but no file"
	return i.report().tell(ctx, marker, "day.empty", "put the day's files, then the marker once more; or delete the marker")
}

// reopen lets a failed or dead job run again when its day was delivered anew after the run began: by a new marker or, in feeds without one,
// by any new file. A day that was retracted opens when what came since is a complete day.
func (i Intake) reopen(ctx context.Context, feed job.Feed, j job.Job, files []job.File) (bool, error) {
	if j.State != job.Failed && j.State != job.Dead && !j.TakenBack() {
		return false, nil
	}
	anew := j.TakenBack() || slices.ContainsFunc(files, func(f job.File) bool {
		return f.LandedAt.After(j.StartedAt) && (feed.Completeness != job.ByMarker || f.Name == job.Marker)
	})
	if !anew || !feed.Complete(j.Day, files, i.Now(), i.Zone) {
		return false, nil
	}
	err := i.Ledger.Reopen(ctx, j, amount(files), "the day was delivered again after: "+j.Reason)
	if lost(ctx, err) {
		return false, nil
	}
	return err == nil, err
}

// lateAfterAll looks once more at a day that files were recorded for: when it closed meanwhile without them, they are late. Whoever
// closes a day later than this look sees them himself.
func (i Intake) lateAfterAll(ctx context.Context, id job.ID, fresh []job.File) error {
	j, err := i.Ledger.Get(ctx, id)
	if err != nil || !j.Done() {
		return err
	}
	var faults []error
	for _, f := range fresh {
		f.State, f.Reason = job.Late, LateReason
		wrote, err := i.Ledger.MarkFile(ctx, f, job.Landed)
		if err == nil && wrote {
			err = i.report().late(ctx, f)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// sameObject tells whether what is recorded is what is there.
func sameObject(recorded, found job.File) bool {
	return recorded.State != job.Removed && recorded.ETag == found.ETag && recorded.VersionID == found.VersionID && recorded.Bytes == found.Bytes &&
		recorded.LandedAt.Equal(found.LandedAt)
}

// amount is what is known of a day's size before anything is decided on it.
func amount(files []job.File) sizing.Decision {
	var d sizing.Decision
	for _, f := range files {
		if f.Name != job.Marker {
			d.Files++
			d.Bytes += f.Bytes
		}
	}
	return d
}

func compareIDs(a, b job.ID) int { return strings.Compare(a.String(), b.String()) }
