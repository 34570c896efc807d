package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-data/sluice/internal/compute"
	jobs "github.com/sluice-data/sluice/internal/job"
)

// switchboard holds which parts of a country are on.
type switchboard interface {
	Read(ctx context.Context) (compute.Switches, error)
	Write(ctx context.Context, part string, on bool) error
}

// clusters knows the EMR clusters of a country.
type clusters interface {
	// EndIdle ends those that jobs started and that have nothing to do, and returns their ids.
	EndIdle(ctx context.Context) ([]string, error)
	// CloseStanding keeps runs from choosing the standing clusters that are up, KeepStanding takes that back.
	CloseStanding(ctx context.Context) error
	KeepStanding(ctx context.Context) error
	// OnStanding returns the jobs whose runs chose one of them.
	OnStanding(ctx context.Context) ([]jobs.ID, error)
}

// application is the country's application on EMR Serverless.
type application interface {
	// Stop stops it if it is started, and tells whether it was.
	Stop(ctx context.Context) (bool, error)
}

// partState is a part of a country, as `sluice compute --json` prints it.
type partState struct {
	Country string `json:"country"`
	compute.Part
	State  string `json:"state"`  // State is "on" or "off".
	Reason string `json:"reason"` // Reason names the part that keeps this one off, where that is another one.
}

// runningPoll is how often `compute off --wait` looks whether jobs still run. Tests shorten it.
var runningPoll = 5 * time.Second

func newComputeCommand(a *app) *cobra.Command {
	var part, countryCode string
	var asJSON, wait bool
	status := func(ctx context.Context, _ []string) error { return a.computeStatus(ctx, part, countryCode, asJSON) }
	cmd := &cobra.Command{
		Use:   "compute",
		Short: "Switch what costs by the hour off and on, or show its state",
		Long: `compute shows and writes the switch: what of a country's compute is on. It is kept in parameters of AWS Systems Manager, in the
country's account, so that no merge switches anything. Jobs follow at once: what is ready waits while its engine is off. Resources
follow with the next deployment; make does both in one:

  make compute-off STACK=prod     # sluice compute off, then pulumi up --yes
  make compute-on STACK=prod

Data, keys, queues, functions, roles and alarms stay as they are. Parts:

` + partsHelp(),
		Example: `  sluice compute
  sluice compute --json --stack prod
  sluice compute off --part emr --country us --wait
  sluice compute on`,
		Args: cobra.NoArgs,
		RunE: a.running(status),
	}
	show := &cobra.Command{
		Use: "status", Short: "Show each part, its state and how it costs", Example: "  sluice compute status --json", Args: cobra.NoArgs, RunE: a.running(status),
	}
	off := &cobra.Command{
		Use:   "off",
		Short: "Switch parts off, all of them by default",
		Long: `Records that parts are off: from then on nothing starts on them. Clusters that jobs started are ended once they have nothing to do,
and the EMR Serverless application is stopped; everything else goes with the next deployment (pulumi up, or make compute-off for both).

While jobs run on what would go, nothing is switched and the exit code is 3; with --wait, no further job starts and the command waits
until the last one ended. When it is interrupted while it waits, the switch stays off.`,
		Example: "  sluice compute off\n  sluice compute off --part emr --country us --wait",
		Args:    cobra.NoArgs,
		RunE:    a.running(func(ctx context.Context, _ []string) error { return a.computeOff(ctx, part, countryCode, wait) }),
	}
	off.Flags().BoolVar(&wait, "wait", false, "wait until the running jobs ended, instead of refusing")
	on := &cobra.Command{
		Use:     "on",
		Short:   "Switch parts on again, all of them by default",
		Long:    "Records that parts are on. They come back with the next deployment (pulumi up, or make compute-on for both).",
		Example: "  sluice compute on\n  sluice compute on --part nat",
		Args:    cobra.NoArgs,
		RunE:    a.running(func(ctx context.Context, _ []string) error { return a.computeOn(ctx, part, countryCode) }),
	}
	cmd.PersistentFlags().StringVar(&part, "part", "", "only this part: "+strings.Join(partNames(), ", "))
	cmd.PersistentFlags().StringVar(&countryCode, "country", "", "only this country")
	for _, reading := range []*cobra.Command{cmd, show} {
		reading.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	}
	cmd.AddCommand(show, off, on)
	return cmd
}

func partNames() []string {
	var names []string
	for _, p := range compute.Parts {
		names = append(names, p.Name)
	}
	return names
}

func partsHelp() string {
	t := newTable("part", "costs", "when it is off, these are gone")
	for _, p := range compute.Parts {
		t.add(p.Name, p.Cost, p.About)
	}
	return t.w.Render()
}

// asked are the parts to work on: the one that was asked for, or all.
func askedParts(name string) ([]compute.Part, error) {
	if name == "" {
		return compute.Parts, nil
	}
	p, ok := compute.Find(name)
	if !ok {
		return nil, usagef("no part %q; there are %s", name, listed(partNames()))
	}
	return []compute.Part{p}, nil
}

func (a *app) computeStatus(ctx context.Context, part, countryCode string, asJSON bool) error {
	parts, err := askedParts(part)
	if err != nil {
		return err
	}
	places, err := a.places(ctx, countryCode)
	if err != nil {
		return err
	}
	list := []partState{}
	for _, p := range places {
		switches, err := p.switchboard.Read(ctx)
		if err != nil {
			return fmt.Errorf("country %q: %w", p.code, err)
		}
		for _, part := range parts {
			s := partState{Country: p.code, Part: part, State: compute.On}
			if blocker := switches.Blocker(part.Name); blocker != "" {
				s.State = compute.Off
				if blocker != part.Name {
					s.Reason = blocker + " is off"
				}
			}
			list = append(list, s)
		}
	}
	if asJSON {
		return printJSON(a.out, list)
	}
	t := newTable("country", "part", "state", "costs", "when it is off, these are gone", "reason")
	for _, s := range list {
		t.add(s.Country, s.Name, s.State, s.Cost, s.About, s.Reason)
	}
	t.print(a.out)
	return nil
}

// computeOff records that parts are off, and ends what no deployment knows of. One country that cannot be switched keeps no other back.
func (a *app) computeOff(ctx context.Context, part, countryCode string, wait bool) error {
	parts, err := askedParts(part)
	if err != nil {
		return err
	}
	places, err := a.places(ctx, countryCode)
	if err != nil {
		return err
	}
	if wait {
		if err := a.write(ctx, places, parts, false); err != nil {
			return err
		}
		if err := a.waitForJobs(ctx, places, parts); err != nil {
			return err
		}
	} else if err := a.offIfQuiet(ctx, places, parts); err != nil {
		return err
	}
	var faults []error
	for _, p := range places {
		if err := a.endIdle(ctx, p, without(parts)); err != nil {
			faults = append(faults, fmt.Errorf("country %q: %w", p.code, err))
		}
	}
	a.nextStep("leave out")
	return errors.Join(faults...)
}

// endIdle ends what costs while it waits for work, of the engines that are off: the clusters that jobs started, and the application's
// workers. AWS changes no application, either, that is started.
func (a *app) endIdle(ctx context.Context, p place, switches compute.Switches) error {
	var faults []error
	if !switches.On(compute.EMR) {
		ended, err := p.clusters.EndIdle(ctx)
		for _, id := range ended {
			fprintf(a.out, "%s: cluster %s has nothing to do and ends\n", p.code, id)
		}
		faults = append(faults, err)
	}
	if !switches.On(compute.Serverless) {
		stopped, err := p.application.Stop(ctx)
		if stopped {
			fprintf(a.out, "%s: the EMR Serverless application is stopped\n", p.code)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// undoLimit is how long taking a switch back may take, also after an interrupt.
const undoLimit = 30 * time.Second

// offIfQuiet records that parts are off, unless jobs run on them. A job may start while it looks. So it looks again once the switch is
// recorded: a job that begins later sees that, and one that began before is seen here, and the switch taken back.
func (a *app) offIfQuiet(ctx context.Context, places []place, parts []compute.Part) error {
	before := map[string]compute.Switches{}
	for _, p := range places {
		var err error
		if before[p.code], err = p.switchboard.Read(ctx); err != nil {
			return fmt.Errorf("country %q: %w", p.code, err)
		}
	}
	if err := refuseIfRunning(ctx, places, parts); err != nil {
		return err
	}
	written, fault := record(ctx, places, parts, false)
	err := refuseIfRunning(ctx, places, parts)
	if err == nil {
		a.printSwitched(places, written, compute.Off)
		return fault
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoLimit)
	defer cancel()
	for _, p := range places {
		back := slices.DeleteFunc(slices.Clone(parts), func(part compute.Part) bool { return before[p.code].Blocker(part.Name) == part.Name })
		if _, kept := record(ctx, []place{p}, back, true); kept != nil {
			fault = errors.Join(fault, fmt.Errorf("what was switched off stays off: %w", kept))
		}
	}
	if fault != nil {
		return fmt.Errorf("%v\n%w", err, fault) // no refusal any more: something was switched
	}
	return err
}

// refuseIfRunning is the refusal to switch off what jobs run on.
func refuseIfRunning(ctx context.Context, places []place, parts []compute.Part) error {
	running, err := runningOn(ctx, places, parts)
	if err != nil || len(running) == 0 {
		return err
	}
	return refusedf("jobs run on what would go; nothing was switched. Wait for them, or add --wait:\n%s", listJobs(running))
}

func (a *app) computeOn(ctx context.Context, part, countryCode string) error {
	parts, err := askedParts(part)
	if err != nil {
		return err
	}
	places, err := a.places(ctx, countryCode)
	if err != nil {
		return err
	}
	if err := a.write(ctx, places, parts, true); err != nil {
		return err
	}
	a.nextStep("bring back")
	return nil
}

func (a *app) nextStep(what string) {
	fprintf(a.out, "recorded; the next deployment will %s what was switched: ./bin/pulumi up --stack %s\n", what, a.stack)
}

// write records the state of parts in every country, and prints it.
func (a *app) write(ctx context.Context, places []place, parts []compute.Part, on bool) error {
	written, err := record(ctx, places, parts, on)
	a.printSwitched(places, written, map[bool]string{true: compute.On, false: compute.Off}[on])
	return err
}

// printSwitched prints the parts that were switched, by country.
func (a *app) printSwitched(places []place, written map[string][]string, state string) {
	for _, p := range places {
		if names := written[p.code]; len(names) > 0 {
			fprintf(a.out, "%s: %s %s\n", p.code, listed(names), state)
		}
	}
}

// record writes the state of parts in every country, and returns the names of those that it wrote, by country.
func record(ctx context.Context, places []place, parts []compute.Part, on bool) (written map[string][]string, err error) {
	written = map[string][]string{}
	var faults []error
	for _, p := range places {
		for _, part := range parts {
			err := p.switchboard.Write(ctx, part.Name, on)
			switch {
			case err != nil || part.Name != compute.Standing:
			case on:
				err = p.clusters.KeepStanding(ctx)
			case onlyStanding(parts):
				err = p.clusters.CloseStanding(ctx) // else no run begins on EMR at all
			}
			if err != nil {
				faults = append(faults, fmt.Errorf("country %q: %w", p.code, err))
				continue
			}
			written[p.code] = append(written[p.code], part.Name)
		}
	}
	return written, errors.Join(faults...)
}

// without is the switch with these parts off, and all others on.
func without(parts []compute.Part) compute.Switches {
	var names, values []string
	for _, p := range parts {
		names, values = append(names, p.Name), append(values, compute.Off)
	}
	switches, _ := compute.Read(names, values) // both values are known
	return switches
}

// onlyStanding tells whether without these parts EMR goes on, but its standing cluster does not.
func onlyStanding(parts []compute.Part) bool {
	switches := without(parts)
	return switches.On(compute.EMR) && !switches.On(compute.Standing)
}

// runningOn lists the jobs that run on the parts.
func runningOn(ctx context.Context, places []place, parts []compute.Part) ([]job, error) {
	all, err := allJobs(ctx, places, "", "")
	if err != nil {
		return nil, err
	}
	onStanding := map[string][]jobs.ID{}
	for _, p := range places {
		if onlyStanding(parts) {
			if onStanding[p.code], err = p.clusters.OnStanding(ctx); err != nil {
				return nil, fmt.Errorf("country %q: %w", p.code, err)
			}
		}
	}
	switches := without(parts)
	return slices.DeleteFunc(all, func(j job) bool {
		part, known := compute.EngineParts[j.Engine]
		here := !known || !switches.On(part) || slices.Contains(onStanding[j.Country], jobs.ID{Feed: j.Feed, Day: jobs.Day(j.Day)})
		return j.State != string(jobs.Running) || !here
	}), nil
}

// waitForJobs waits until no job runs on the parts any more, and shows how many do.
func (a *app) waitForJobs(ctx context.Context, places []place, parts []compute.Part) error {
	wait := newSpinner(a.err, "waiting for running jobs")
	defer wait.end()
	tick := time.NewTicker(runningPoll)
	defer tick.Stop()
	told := ""
	for {
		running, err := runningOn(ctx, places, parts)
		if err != nil || len(running) == 0 {
			return err
		}
		if list := listJobs(running); list != told {
			fprintf(a.err, "waiting for %d running:\n%s\n", len(running), list)
			told = list
		}
		select {
		case <-ctx.Done():
			wait.end()
			fprintln(a.err, "jobs still run; the switch is off and stays off until: sluice compute on")
			return context.Cause(ctx)
		case <-tick.C:
			wait.turn()
		}
	}
}

func listJobs(list []job) string {
	lines := []string{}
	for _, j := range list {
		lines = append(lines, fmt.Sprintf("  %s %s %s, on %s", j.Country, j.Feed, j.Day, j.Engine))
	}
	return strings.Join(lines, "\n")
}
