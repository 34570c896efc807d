package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	jobs "github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/seal"
)

// stateSucceeded is the state of a closed day.
const stateSucceeded = "succeeded"

// putRequest is what one `put` was asked to do.
type putRequest struct {
	country, feed, day string
	files              []string
}

func newPutCommand(a *app) *cobra.Command {
	var r putRequest
	cmd := &cobra.Command{
		Use:   "put FILE... --country C --feed F --day D",
		Short: "Put a day's files into the landing bucket",
		Long: `Uploads the files to <feed>/<day>/<file name> in the country's landing bucket. Where the feed's contract waits for a marker,
the marker is written last, so that the day is complete when the command ends. Where the contract says sluice.clientSide, each file is
encrypted under the country's key before it leaves this machine.

A file's name has letters, digits, spaces and - _ . + = @ , ( ) ~ only, and begins with neither _ nor a dot; the key is 1024 bytes at most. What
cannot be put is told of all files at once, and then none is uploaded. The marker is written only when every file was.

The day is one from 1960-01-01 to tomorrow in the country's time zone; another one is refused before anything is uploaded.

A day that succeeded is closed. A file for it still lands, and is recorded as late, but no job takes it up until the day is restated:
the command then exits with 3.`,
		Example: `  sluice put flights.csv --country us --feed flights --day 2013-01-01
  sluice put part-1.csv part-2.csv --country us --feed flights --day 2013-01-02 --stack prod`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.running(func(ctx context.Context, args []string) error {
			r.files = args
			return a.put(ctx, r)
		}),
	}
	cmd.Flags().StringVar(&r.country, "country", "", "country, an ISO 3166-1 alpha-2 code in lower case")
	cmd.Flags().StringVar(&r.feed, "feed", "", "feed, as named in the stack's YAML")
	cmd.Flags().StringVar(&r.day, "day", "", "day of the data, yyyy-mm-dd")
	for _, name := range []string{"country", "feed", "day"} {
		_ = cmd.MarkFlagRequired(name) // fails only for a flag that does not exist
	}
	return cmd
}

func (a *app) put(ctx context.Context, r putRequest) error {
	if err := checkDay(r.day); err != nil {
		return err
	}
	places, err := a.places(ctx, r.country)
	if err != nil {
		return err
	}
	f, err := places[0].feed(ctx, r.feed)
	if err != nil {
		return err
	}
	zone, err := places[0].Location()
	if err != nil {
		return err
	}
	if err := jobs.Day(r.day).Check(a.now(), zone); err != nil {
		return usageError{err.Error()}
	}
	if err := r.check(f.ClientSide); err != nil {
		return err
	}
	return a.putFiles(ctx, places[0], f, r)
}

// maxObjectBytes is the size of the largest object that S3 keeps: 10,000 parts of 5 GiB.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
const maxObjectBytes = 10_000 * 5 << 30

// check refuses what cannot be uploaded as it stands, or what would not be read afterwards, all of it at once and before anything is uploaded.
func (r putRequest) check(sealed bool) error {
	seen := map[string]string{}
	var faults []string
	for _, path := range r.files {
		name := filepath.Base(path)
		if fault := r.fault(path, sealed); fault != "" {
			faults = append(faults, fault)
		} else if seen[name] != "" {
			faults = append(faults, fmt.Sprintf("%s and %s have the same name: one would overwrite the other in the landing bucket", seen[name], path))
		}
		seen[name] = path
	}
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return usagef("%s; nothing was uploaded", faults[0])
	}
	return usagef("%d of %d files cannot be put, and nothing was uploaded:\n  %s", len(faults), len(r.files), strings.Join(faults, "\n  "))
}

// fault says what is wrong with one file, "" when nothing is. Files that are sealed the jobs have to open as a whole.
func (r putRequest) fault(path string, sealed bool) string {
	name := filepath.Base(path)
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	if !info.Mode().IsRegular() {
		return path + " is not a regular file"
	}
	if why := (jobs.ID{Feed: r.feed, Day: jobs.Day(r.day)}).Refuses(name); why != "" {
		return fmt.Sprintf("%s: %s; rename it, for example to %q", path, why, jobs.GoodName(name))
	}
	switch {
	case sealed && strings.HasSuffix(path, ".gz"):
		return fmt.Sprintf("%s: feed %q is encrypted by who puts it, and takes no compressed files; unpack it", path, r.feed)
	case sealed && info.Size() > seal.MaxBytes:
		return fmt.Sprintf("%s: feed %q is encrypted by who puts it, and takes files of %d MiB at most; split it", path, r.feed, seal.MaxBytes>>20)
	case info.Size() > maxObjectBytes:
		return fmt.Sprintf("%s: S3 takes files of %d GiB at most; split it", path, maxObjectBytes>>30)
	}
	body, err := os.Open(path)
	if err == nil {
		err = body.Close()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func checkDay(day string) error {
	if _, err := jobs.ParseDay(day); err != nil {
		return usageError{err.Error()}
	}
	return nil
}

// putFiles uploads the files of one day, and the marker when the day waits for one.
func (a *app) putFiles(ctx context.Context, p place, f feed, r putRequest) error {
	closed, _, err := p.closed(ctx, r.feed, r.day)
	if err != nil {
		return err
	}
	prefix := r.feed + "/" + r.day + "/"
	for _, path := range r.files {
		key := prefix + filepath.Base(path)
		if err := a.upload(ctx, p, f, path, key); err != nil {
			return err
		}
		fprintf(a.out, "put s3://%s/%s\n", p.Buckets.Landing, key)
	}
	if !closed && f.Completeness == "marker" {
		if err := p.objects.Upload(ctx, p.Buckets.Landing, prefix+f.Marker, strings.NewReader("")); err != nil {
			return fmt.Errorf("marker of %s: %w", prefix, err)
		}
		fprintf(a.out, "put s3://%s/%s\n", p.Buckets.Landing, prefix+f.Marker)
	}
	// The day may have closed while the files were on their way: the answer must be true of the moment after.
	setAside := false
	if !closed {
		closed, setAside, err = p.closed(ctx, r.feed, r.day)
		if err != nil {
			return err
		}
	}
	if setAside {
		fprintf(a.err, "the day was cancelled, and is not processed by itself: sluice redrive %s/%s --country %s does it after all\n", r.feed, r.day, r.country)
	}
	if closed {
		return refusedf("day %s of feed %q in country %q is closed: it succeeded. The file is in the landing bucket and recorded as late; "+
			"it takes part only when the day is restated. See 'sluice job show --country %s --feed %s --day %s'",
			r.day, r.feed, r.country, r.country, r.feed, r.day)
	}
	return nil
}

// closed reports whether a file for a day is late: the day succeeded, be it before a restatement that was cancelled; and whether the day was set
// aside by a cancellation.
func (p place) closed(ctx context.Context, feed, day string) (closed, setAside bool, err error) {
	found, err := p.ledger.Jobs(ctx, feed, day)
	if err != nil || len(found) != 1 {
		return false, false, err
	}
	return found[0].closed, found[0].setAside, nil
}

func (a *app) upload(ctx context.Context, p place, f feed, path, key string) (err error) {
	body, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	info, err := body.Stat()
	if err != nil {
		return fmt.Errorf("put: %w", err)
	}
	progress := newBytesBar(a.err, info.Size(), filepath.Base(path))
	defer progress.end()
	if f.ClientSide {
		return p.objects.Seal(ctx, p.Buckets.Landing, key, p.Compute.KMSKeyARN, body)
	}
	if err := p.objects.Upload(ctx, p.Buckets.Landing, key, counted{body, progress, info.Size()}); err != nil {
		return fmt.Errorf("put %s: %w", path, err)
	}
	return nil
}

// counted reports what was read of a file to a progress bar.
type counted struct {
	io.Reader
	progress bar
	size     int64
}

// Size is how many bytes the file has, by which an upload in parts chooses their size.
func (c counted) Size() int64 { return c.size }

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.progress.add(n)
	return n, err
}
