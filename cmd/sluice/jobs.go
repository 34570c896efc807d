package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newJobsCommand(a *app) *cobra.Command {
	var countryCode, feed, day string
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List jobs: one line per country, feed and day, with its state and counts",
		Long: `Lists jobs: one line per country, feed and day, with its state and counts. With --watch, the list is read again every two seconds until
the command is interrupted, and each job that changed is printed again; with --json, as one JSON value a line.`,
		Example: `  sluice jobs
  sluice jobs --country us --watch
  sluice jobs --country us --day 2013-01-01
  sluice jobs --feed flights --json --stack prod`,
		Args: cobra.NoArgs,
		RunE: a.running(func(ctx context.Context, _ []string) error {
			if day != "" {
				if err := checkDay(day); err != nil {
					return err
				}
			}
			places, err := a.places(ctx, countryCode)
			if err != nil {
				return err
			}
			if feed != "" {
				if err := knowFeed(ctx, places, feed); err != nil {
					return err
				}
			}
			if watch {
				return a.watchJobs(ctx, places, feed, day, asJSON)
			}
			list, err := allJobs(ctx, places, feed, day)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			printJobs(a, list)
			return nil
		}),
	}
	cmd.Flags().StringVar(&countryCode, "country", "", "only this country")
	cmd.Flags().StringVar(&feed, "feed", "", "only this feed")
	cmd.Flags().StringVar(&day, "day", "", "only this day, yyyy-mm-dd")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&watch, "watch", false, "go on until interrupted, and print what changes")
	return cmd
}

// jobsPoll is how often `jobs --watch` reads the jobs again. Tests shorten it.
var jobsPoll = 2 * time.Second

// watchJobs prints the jobs, and then each that changed, until the context ends: which is how this command ends well.
func (a *app) watchJobs(ctx context.Context, places []place, feed, day string, asJSON bool) error {
	tick := time.NewTicker(jobsPoll)
	defer tick.Stop()
	type id struct{ country, feed, day string }
	shown := map[id]string{}
	for {
		list, err := allJobs(ctx, places, feed, day)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for _, j := range list {
			text, err := json.Marshal(j)
			if err != nil {
				return fmt.Errorf("output: %w", err)
			}
			key := id{j.Country, j.Feed, j.Day}
			if shown[key] == string(text) {
				continue
			}
			shown[key] = string(text)
			if asJSON {
				fprintln(a.out, string(text))
				continue
			}
			line := fmt.Sprintf("%s  %s %s %s: %s", a.now().UTC().Format(time.TimeOnly), j.Country, j.Feed, j.Day, j.State)
			if j.Input != nil {
				line += fmt.Sprintf(", input %d, validated %d, invalid %d", *j.Input, count0(j.Validated), count0(j.Invalid))
			}
			if j.Exported != nil {
				line += fmt.Sprintf(", %d rows in BigQuery", *j.Exported)
			}
			if j.Reason != "" {
				line += "  (" + j.Reason + ")"
			}
			fprintln(a.out, line)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func count0(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// knowFeed refuses a feed that none of the countries has.
func knowFeed(ctx context.Context, places []place, name string) error {
	for _, p := range places {
		feeds, err := p.ledger.Feeds(ctx)
		if err != nil {
			return err
		}
		if _, ok := feeds[name]; ok {
			return nil
		}
	}
	return usagef("no feed %q in the stack", name)
}

// allJobs reads the jobs of several countries, in the order of country, feed and day. It never returns nil: JSON wants a list.
func allJobs(ctx context.Context, places []place, feed, day string) ([]job, error) {
	list := []job{}
	for _, p := range places {
		jobs, err := p.ledger.Jobs(ctx, feed, day)
		if err != nil {
			return nil, fmt.Errorf("country %q: %w", p.code, err)
		}
		list = append(list, jobs...)
	}
	slices.SortFunc(list, func(a, b job) int {
		return cmp.Or(strings.Compare(a.Country, b.Country), strings.Compare(a.Feed, b.Feed), strings.Compare(a.Day, b.Day))
	})
	return list, nil
}

func printJobs(a *app, list []job) {
	if len(list) == 0 {
		fprintln(a.out, "no jobs")
		return
	}
	t := newTable("country", "feed", "day", "state", "engine", "input", "validated", "invalid", "new", "changed", "unchanged", "duplicate", "BigQuery", "reason")
	t.numbers("input", "validated", "invalid", "new", "changed", "unchanged", "duplicate", "BigQuery")
	for _, j := range list {
		t.add(j.Country, j.Feed, j.Day, j.State, j.Engine, count(j.Input), count(j.Validated), count(j.Invalid),
			count(j.New), count(j.Changed), count(j.Unchanged), count(j.Duplicate), count(j.Exported), j.Reason)
	}
	t.print(a.out)
}

// count shows a number that may not be known yet.
func count(n *int64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// moment shows a time that may not have come yet.
func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// jobDetails is what `sluice job show --json` prints: the job with its attempts and files.
type jobDetails struct {
	job
	Revision int64      `json:"revision"`
	RetryAt  *time.Time `json:"retryAt"` // RetryAt is when the next attempt may begin; null: it need not wait, or none is to come.
	Acts     []done     `json:"acts"`    // Acts are what people did to the job.
	Runs     []attempt  `json:"runs"`
	Files    []file     `json:"files"`
}

func newJobCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "job",
		Short: "Look at one job",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var countryCode, feed, day string
	var asJSON bool
	show := &cobra.Command{
		Use:   "show --country C --feed F --day D",
		Short: "Show a job with its attempts, its sizing and its files",
		Example: `  sluice job show --country us --feed flights --day 2013-01-01
  sluice job show --country us --feed flights --day 2013-01-01 --json`,
		Args: cobra.NoArgs,
		RunE: a.running(func(ctx context.Context, _ []string) error {
			if err := checkDay(day); err != nil {
				return err
			}
			places, err := a.places(ctx, countryCode)
			if err != nil {
				return err
			}
			if _, err := places[0].feed(ctx, feed); err != nil {
				return err
			}
			details, err := places[0].details(ctx, feed, day)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, details)
			}
			printDetails(a, details)
			return nil
		}),
	}
	show.Flags().StringVar(&countryCode, "country", "", "country of the job")
	show.Flags().StringVar(&feed, "feed", "", "feed of the job")
	show.Flags().StringVar(&day, "day", "", "day of the job, yyyy-mm-dd")
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	for _, name := range []string{"country", "feed", "day"} {
		_ = show.MarkFlagRequired(name) // fails only for a flag that does not exist
	}
	cmd.AddCommand(show)
	return cmd
}

func (p place) details(ctx context.Context, feed, day string) (jobDetails, error) {
	jobs, err := p.ledger.Jobs(ctx, feed, day)
	if err != nil {
		return jobDetails{}, err
	}
	files, err := p.ledger.Files(ctx, feed, day)
	if err != nil {
		return jobDetails{}, err
	}
	if len(jobs) == 0 {
		return jobDetails{}, fmt.Errorf("country %q has no job for feed %q and day %s: %d files are recorded, and the day is not complete yet", p.code, feed, day, len(files))
	}
	runs, err := p.ledger.Runs(ctx, feed, day)
	if err != nil {
		return jobDetails{}, err
	}
	return jobDetails{job: jobs[0], Revision: jobs[0].revision, RetryAt: jobs[0].retryAt, Acts: append([]done{}, jobs[0].acts...), Runs: append([]attempt{}, runs...), Files: append([]file{}, files...)}, nil
}

func printDetails(a *app, d jobDetails) {
	t := newTable("job", d.Country+" "+d.Feed+" "+d.Day)
	t.add("state", d.State)
	if d.Reason != "" {
		t.add("reason", d.Reason)
	}
	if d.Revision > 1 {
		t.add("revision", d.Revision)
	}
	if d.RetryAt != nil {
		t.add("next attempt", moment(d.RetryAt))
	}
	for _, act := range d.Acts {
		t.add(act.Verb, fmt.Sprintf("%s by %s: %s", moment(act.At), act.By, act.Reason))
	}
	t.add("engine", d.Engine)
	if d.Sizing.Reason != "" {
		t.add("sizing", d.Sizing.Reason)
	}
	t.add("started", moment(d.StartedAt))
	t.add("finished", moment(d.FinishedAt))
	for _, c := range []struct {
		name string
		n    *int64
	}{
		{"input", d.Input}, {"validated", d.Validated}, {"invalid", d.Invalid}, {"new", d.New}, {"changed", d.Changed},
		{"unchanged", d.Unchanged}, {"duplicate", d.Duplicate}, {"deleted", d.Deleted}, {"rows in BigQuery", d.Exported},
	} {
		t.add(c.name, count(c.n))
	}
	t.print(a.out)

	fprintln(a.out)
	runs := newTable("run", "state", "engine", "cluster", "step", "started", "finished", "reason")
	for _, r := range d.Runs {
		runs.add(r.Token, r.State, r.Engine, r.ClusterID, r.StepID, moment(r.StartedAt), moment(r.FinishedAt), r.Reason)
	}
	runs.print(a.out)

	fprintln(a.out)
	printFiles(a, d.Files)
}
