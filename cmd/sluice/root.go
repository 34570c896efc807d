package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/discovery"
)

// app is what every command shares: where it writes, the stack it was asked for, and how it reaches that stack.
type app struct {
	out, err io.Writer
	stack    string
	now      func() time.Time
	every    func(time.Duration) (tick <-chan time.Time, stop func())
	started  bool // started is set when a command's own code begins to run.

	// discover finds what the stack deployed; connect opens one of its countries; table reads its access table. Tests replace them.
	discover func(ctx context.Context, stack string) (deployed, error)
	connect  func(ctx context.Context, c discovery.Country) (place, error)
	table    func(ctx context.Context, stack string) (map[string]access.Person, error)
}

func newApp(out, err io.Writer) *app {
	return &app{out: out, err: err, now: time.Now, every: ticks, discover: discover, connect: connect, table: accessTable}
}

// ticks gives the time again and again until it is stopped.
func ticks(interval time.Duration) (tick <-chan time.Time, stop func()) {
	t := time.NewTicker(interval)
	return t.C, t.Stop
}

// running wraps a command's own code, so that errors before it count as wrong usage.
func (a *app) running(f func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.started = true
		return f(cmd.Context(), args)
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "Put files in, see what became of every record",
		Long: `sluice works on one deployed stack: it puts files into the landing bucket of a country, shows the jobs and
files of each day, and asks the data questions with SQL. It can also start and stop the local cloud.

It finds the stack's countries with your AWS credentials, in the region that your environment or profile names (AWS_PROFILE, AWS_REGION): set
it to the stack's. It needs no checkout for that and no access to Pulumi's state; for the stack local, run it in the checkout.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 refused by the rules (for example a day that is closed).`,
		Example: `  sluice put flights.csv --country us --feed flights --day 2013-01-01
  sluice jobs --country us
  sluice query "select count(*) from flights" --country us --stage curated
  sluice jobs --stack prod --json`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&a.stack, "stack", localStack, "Pulumi stack to work on")
	root.AddCommand(
		newPutCommand(a),
		newJobsCommand(a),
		newJobCommand(a),
		newExplainCommand(a),
		newActCommand(a, restate),
		newActCommand(a, retract),
		newBackfillCommand(a),
		newActCommand(a, redrive),
		newActCommand(a, cancel),
		newActCommand(a, hold),
		newActCommand(a, release),
		newFilesCommand(a),
		newQueryCommand(a),
		newAccessCommand(a),
		newComputeCommand(a),
		newLocalCommand(a),
		newDemoCommand(a),
	)
	return root
}
