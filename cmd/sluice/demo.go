package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// quietLimit is how long no job may change before the demo gives up: a job on a laptop takes a minute or two.
	quietLimit = 10 * time.Minute
	watchPoll  = time.Second
	// settleLimit is how long a job may be blocked without anything happening: longer than two rounds of start-jobs.
	settleLimit = 150 * time.Second
	stateFailed = "failed"
	// parallelOperations is how many resources Pulumi works on at once. Its default goes by the number of processors, but most of a
	// deployment is waiting: the provider gives a queue half a minute and a lifecycle rule a whole one to settle.
	parallelOperations = "64"
)

func newDemoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Deploy the local stack, put real files in, and watch them become records",
		Long: `Starts the local cloud, deploys the stack local with Pulumi, puts the demo's files (three days of New York's flights in country us,
one in pr), waits until all jobs ended, and prints what became of every record. Days that are there already are not put again. It
leaves everything running: 'sluice local down --destroy', or 'make down', ends it.`,
		Example: "  sluice demo",
		Args:    cobra.NoArgs,
		RunE:    a.running(func(ctx context.Context, _ []string) error { return a.demo(ctx) }),
	}
}

func (a *app) demo(ctx context.Context) error {
	if a.stack != localStack {
		return usagef("the demo runs on the stack %s only", localStack)
	}
	root, err := checkout()
	if err != nil {
		return err
	}
	home := localHome(root)
	if err = a.localUp(ctx); err == nil {
		err = a.playDemo(ctx, root, home)
		if err != nil && ctx.Err() == nil && !answers(home) {
			err = fmt.Errorf("%w\nthe local cloud has ended by itself: its logs are in %s; 'make demo' starts again with an empty one", err, filepath.Join(home, "cloud"))
		}
	}
	if ctx.Err() != nil || unfinished(home) != "" {
		fprintln(a.err, "sluice: the demo is not done: 'make demo' goes on with it, 'make down' ends it and deletes its data")
	}
	return err
}

// playDemo is the demo on a running cloud.
func (a *app) playDemo(ctx context.Context, root, home string) error {
	if err := a.deployLocal(ctx, root, home); err != nil {
		return err
	}
	days, err := a.demoDays(ctx, root, home)
	if err != nil {
		return err
	}
	places, err := a.places(ctx, "")
	if err != nil {
		return err
	}
	retried, err := a.putDemo(ctx, places, days)
	if err != nil {
		return err
	}
	list, err := a.watch(ctx, places, days, retried)
	if err != nil {
		return err
	}
	fprintln(a.out)
	printJobs(a, list)
	fprintln(a.out, "\nThe stack stays up. Try:  ./bin/sluice query \"select * from flights limit 5\" --country us --stage curated\nEnd it with:  make down")
	for _, j := range list {
		if j.State != stateSucceeded {
			return fmt.Errorf("job %s %s %s: %s: %s", j.Country, j.Feed, j.Day, j.State, j.Reason)
		}
	}
	return nil
}

// demoDay is the files of one feed and day in one country.
type demoDay struct {
	country, feed, day string
	files              []string
}

// demoDays makes the input files, unless an earlier demo did, and lists them: <home>/demo/<country>/<feed>/<day>/<file>.
func (a *app) demoDays(ctx context.Context, root, home string) ([]demoDay, error) {
	folder := filepath.Join(home, "demo")
	cmd := exec.CommandContext(ctx, filepath.Join(root, ".venv", "bin", "python"), "-m", "local.demo", "make", "--out", folder)
	cmd.Dir = root
	cmd.Stdout, cmd.Stderr = a.out, a.err
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("demo files: %w", err)
	}
	return listDemoDays(folder)
}

func listDemoDays(folder string) ([]demoDay, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*", "*", "????-??-??", "*"))
	if err != nil {
		return nil, fmt.Errorf("demo files: %w", err)
	}
	var days []demoDay
	for _, path := range paths { // in order, so that the files of a day follow one another
		relative, err := filepath.Rel(folder, path)
		if err != nil {
			return nil, fmt.Errorf("demo files: %w", err)
		}
		parts := strings.Split(filepath.ToSlash(relative), "/")
		d := demoDay{country: parts[0], feed: parts[1], day: parts[2]}
		if n := len(days); n > 0 && days[n-1].country == d.country && days[n-1].feed == d.feed && days[n-1].day == d.day {
			days[n-1].files = append(days[n-1].files, path)
			continue
		}
		d.files = []string{path}
		days = append(days, d)
	}
	if len(days) == 0 {
		return nil, fmt.Errorf("demo files: none in %s; delete the folder and run the demo again", folder)
	}
	// Day by day, as the files of a real source would come.
	slices.SortStableFunc(days, func(x, y demoDay) int { return cmp.Compare(x.day, y.day) })
	return days, nil
}

// putDemo puts the days that have no job yet, and those whose job failed: to deliver a day again is to try again. A day that was put
// halfway has no job, so it is put as a whole. It returns the attempts that the failed ones had.
func (a *app) putDemo(ctx context.Context, places []place, days []demoDay) (map[demoKey]int64, error) {
	retried := map[demoKey]int64{}
	for _, d := range days {
		i := slices.IndexFunc(places, func(p place) bool { return p.code == d.country })
		if i < 0 {
			return nil, fmt.Errorf("demo files: country %q is not in the stack", d.country)
		}
		f, err := places[i].feed(ctx, d.feed)
		if err != nil {
			return nil, fmt.Errorf("demo files: %w", err)
		}
		jobs, err := places[i].ledger.Jobs(ctx, d.feed, d.day)
		if err != nil {
			return nil, err
		}
		if len(jobs) > 0 {
			if jobs[0].State != stateFailed {
				continue
			}
			retried[demoKey{d.country, d.feed, d.day}] = jobs[0].Attempts
		}
		err = a.putFiles(ctx, places[i], f, putRequest(d))
		// The last file may complete the day and a very fast job close it: that is no refusal of what was just put.
		var refused refusedError
		if err != nil && !errors.As(err, &refused) {
			return nil, err
		}
	}
	return retried, nil
}

// ended tells whether nothing more happens to a job. A job that succeeded still has its rows to export; one that failed may have been
// tried again; and one that is blocked goes on when what blocks it does.
func (j job) ended(retried map[demoKey]int64, quiet time.Duration) bool {
	switch j.State {
	case stateSucceeded:
		return j.Exported != nil
	case stateFailed:
		before, again := retried[demoKey{j.Country, j.Feed, j.Day}]
		return !again || j.Attempts > before || quiet > settleLimit
	case "blocked":
		return quiet > settleLimit
	case "dead", "cancelled", "held":
		return true
	}
	return false
}

// watch shows the jobs' progress until all of the days' jobs ended, and returns them.
func (a *app) watch(ctx context.Context, places []place, days []demoDay, retried map[demoKey]int64) ([]job, error) {
	progress := newBar(a.err, int64(len(days)), "jobs")
	defer progress.end()
	tick := time.NewTicker(watchPoll)
	defer tick.Stop()
	states := map[demoKey]string{}
	changed := time.Now()
	for {
		list, err := allJobs(ctx, places, "", "")
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(j job) bool { return !slices.ContainsFunc(days, j.of) })
		done, running := 0, []string{}
		for _, j := range list {
			if j.ended(retried, time.Since(changed)) {
				done++
			}
			if j.State == "running" {
				running = append(running, j.Country+" "+j.Feed+" "+j.Day)
			}
			key, state := demoKey{j.Country, j.Feed, j.Day}, j.State
			if state == stateSucceeded && j.Exported != nil {
				state = fmt.Sprintf("%s, %d rows in BigQuery", state, *j.Exported)
			}
			if states[key] != state {
				states[key], changed = state, time.Now()
				if !isTerminal(a.err) {
					fprintf(a.out, "%s %s %s: %s\n", j.Country, j.Feed, j.Day, state)
				}
			}
		}
		progress.set(done, "jobs  "+strings.Join(running, ", "))
		if done == len(days) {
			return list, nil
		}
		if time.Since(changed) > quietLimit {
			progress.end()
			printJobs(a, list)
			return nil, fmt.Errorf("%d of %d jobs have not ended, and none moved for %s; logs are in $SLUICE_HOME/cloud", len(days)-done, len(days), quietLimit)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

type demoKey struct{ country, feed, day string }

// of tells whether a job is the one of a day's files.
func (j job) of(d demoDay) bool { return j.Country == d.country && j.Feed == d.feed && j.Day == d.day }

// deployLocal brings the stack local up with Pulumi, also after a deployment that was killed. What such a one made may be there without
// Pulumi knowing it; where that is in the way, the local cloud starts over, as nobody could have used the half of it.
func (a *app) deployLocal(ctx context.Context, root, home string) error {
	if err := unlockState(ctx, root, home); err != nil {
		return err
	}
	before, err := readState(home)
	if err != nil {
		return err
	}
	killed := unfinished(home)
	if killed == "" || killed == "up" && before.resources > 0 {
		failed := a.upLocal(ctx, root)
		if failed == nil || ctx.Err() != nil {
			return failed
		}
		after, err := readState(home)
		if err != nil || killed == "" && !after.creating {
			return errors.Join(failed, err)
		}
		fprintf(a.err, "sluice: %v\n", failed)
	}
	fprintln(a.err, "sluice: an earlier deployment or its end was killed, and Pulumi does not know what is there; starting with an empty local cloud")
	if err := stopCloud(ctx, home); err != nil {
		return err
	}
	if err := removeLocalData(home); err != nil {
		return err
	}
	if err := a.localUp(ctx); err != nil {
		return err
	}
	return a.upLocal(ctx, root)
}

func (a *app) upLocal(ctx context.Context, root string) error {
	return a.runPulumi(ctx, root, "up", "--yes", "--skip-preview", "--suppress-outputs", "--parallel", parallelOperations, "--stack", localStack)
}
