package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func newFilesCommand(a *app) *cobra.Command {
	var countryCode string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "files [KEY]",
		Short: "Show what became of files in the landing bucket",
		Long: `Shows what is recorded of the objects whose key in the landing bucket is KEY or begins with it. KEY names at least a feed and a
day. A key that names no feed or no day finds the objects that were rejected under it; without KEY, all that were rejected.`,
		Example: `  sluice files flights/2013-01-01/
  sluice files flights/2013-01-01/flights.csv --country us --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.running(func(ctx context.Context, args []string) error {
			places, err := a.places(ctx, countryCode)
			if err != nil {
				return err
			}
			list := []file{}
			for _, p := range places {
				found, err := p.filesUnder(ctx, strings.Join(args, ""))
				if err != nil {
					return fmt.Errorf("country %q: %w", p.code, err)
				}
				list = append(list, found...)
			}
			if asJSON {
				return printJSON(a.out, list)
			}
			printFiles(a, list)
			return nil
		}),
	}
	cmd.Flags().StringVar(&countryCode, "country", "", "only this country")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// filesUnder returns the recorded objects whose key begins with a prefix: those of the job that the key names, and the rejected ones.
func (p place) filesUnder(ctx context.Context, prefix string) ([]file, error) {
	candidates, err := p.ledger.Rejected(ctx)
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(prefix, "/", 3)
	if len(parts) > 1 {
		if _, err := time.Parse(time.DateOnly, parts[1]); err == nil {
			files, err := p.ledger.Files(ctx, parts[0], parts[1])
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, files...)
		}
	}
	var found []file
	for _, f := range candidates {
		if strings.HasPrefix(f.Key, prefix) {
			found = append(found, f)
		}
	}
	return found, nil
}

func printFiles(a *app, list []file) {
	if len(list) == 0 {
		fprintln(a.out, "no files")
		return
	}
	t := newTable("country", "file", "bytes", "state", "landed", "reason")
	t.numbers("bytes")
	for _, f := range list {
		t.add(f.Country, f.Key, f.Bytes, f.State, moment(f.LandedAt), f.Reason)
	}
	t.print(a.out)
}
