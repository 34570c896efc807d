package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// localStack is the stack that runs on the local cloud.
	localStack = "local"
	// localSecret is the secret of the local cloud's root key. It opens nothing but the emulator on this machine.
	localSecret = "local"
	// startLimit is how long the local cloud may take until it answers, longer than it gives its two sides itself, and stopLimit how long until its last process ended.
	startLimit = 11 * time.Minute
	stopLimit  = 90 * time.Second
	// pollInterval is how often a process or a file is looked at while waiting for it.
	pollInterval = 100 * time.Millisecond
)

var errNotRunning = errors.New("the local cloud is not running; start it with 'sluice local up' or 'make demo'")

// cloud is what the local cloud writes about itself once it answers.
type cloud struct {
	PID       *int32            `json:"pid"`
	Endpoints map[string]string `json:"endpoints"`
	CA        string            `json:"ca"`
	PIDs      map[string]int32  `json:"pids"`
	Account   string            `json:"account"`
	Region    string            `json:"region"`
}

// cloudStatus is what `sluice local status --json` prints.
type cloudStatus struct {
	Running   bool              `json:"running"`
	Home      string            `json:"home"`
	PID       *int32            `json:"pid"`
	Endpoints map[string]string `json:"endpoints"`
	PIDs      map[string]int32  `json:"pids"`
	CA        string            `json:"ca,omitempty"`
	Account   string            `json:"account,omitempty"`
	Region    string            `json:"region,omitempty"`
	Memory    map[string]uint64 `json:"memory"` // Memory is what each process of PIDs takes now, with all that it started, in bytes.
	Disk      int64             `json:"disk"`   // Disk is what the files of the home take, in bytes.
}

// localHome is the folder that holds everything of one local stack. A relative $SLUICE_HOME is one of the checkout.
func localHome(root string) string {
	home := os.Getenv("SLUICE_HOME")
	if home == "" {
		return filepath.Join(root, ".sluice")
	}
	if filepath.IsAbs(home) {
		return home
	}
	return filepath.Join(root, home)
}

func cloudFile(home string) string { return filepath.Join(home, "cloud.json") }

// readCloud returns what the local cloud last wrote; the zero value when there never was one.
func readCloud(home string) (cloud, error) {
	text, err := os.ReadFile(cloudFile(home))
	if errors.Is(err, fs.ErrNotExist) {
		return cloud{}, nil
	}
	if err != nil {
		return cloud{}, fmt.Errorf("local cloud: %w", err)
	}
	var c cloud
	if err := json.Unmarshal(text, &c); err != nil {
		return cloud{}, fmt.Errorf("local cloud: %s: %w; delete the file if nothing runs", cloudFile(home), err)
	}
	return c, nil
}

// runningCloud returns the local cloud of a home, or an error that says how to start it.
func runningCloud(home string) (cloud, error) {
	c, err := readCloud(home)
	if err != nil {
		return cloud{}, err
	}
	if c.PID == nil || !isLauncher(*c.PID, home) {
		return cloud{}, errNotRunning
	}
	return c, nil
}

// answers tells whether the local cloud of a home takes connections.
func answers(home string) bool {
	c, err := runningCloud(home)
	if err != nil {
		return false
	}
	connection, err := net.Dial("tcp", strings.TrimPrefix(c.Endpoints["aws"], "http://"))
	if err != nil {
		return false
	}
	_ = connection.Close() // nothing was said
	return true
}

func newLocalCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "local",
		Short: "Start, stop and look at the local cloud",
		Long: `The local cloud answers as AWS, BigQuery and Cloud Storage on loopback ports of this machine. Everything of it, data
included, is in the folder $SLUICE_HOME (by default .sluice in the checkout), and it outlives a stop.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	up := &cobra.Command{
		Use:     "up",
		Short:   "Start the local cloud and wait until it answers",
		Example: "  sluice local up\n  SLUICE_HOME=/tmp/second sluice local up   # a second one beside it",
		Args:    cobra.NoArgs,
		RunE:    a.running(func(ctx context.Context, _ []string) error { return a.localUp(ctx) }),
	}
	var destroy bool
	var giveUp time.Duration
	down := &cobra.Command{
		Use:   "down",
		Short: "Stop the local cloud and every process of it",
		Long: `Stops the local cloud and checks that no process of it is left. Its data stays, and 'sluice local up' continues with it,
unless --destroy is given: then the stack local is destroyed first, and all of its data is deleted. A destroy in which no resource
begins or ends to go for the time of --give-up-after is ended, and the stack is removed with its data all the same.`,
		Example: "  sluice local down\n  sluice local down --destroy\n  sluice local down --destroy --give-up-after 30m   # wait longer for one that hangs",
		Args:    cobra.NoArgs,
		RunE:    a.running(func(ctx context.Context, _ []string) error { return a.localDown(ctx, destroy, giveUp) }),
	}
	down.Flags().BoolVar(&destroy, "destroy", false, "destroy the stack local and delete all of its data")
	down.Flags().DurationVar(&giveUp, "give-up-after", stuckLimit, "how long no resource may move before the destroy is ended")
	var asJSON bool
	status := &cobra.Command{
		Use:     "status",
		Short:   "Show endpoints, processes, memory and disk of the local cloud",
		Example: "  sluice local status\n  sluice local status --json",
		Args:    cobra.NoArgs,
		RunE:    a.running(func(context.Context, []string) error { return a.localStatus(asJSON) }),
	}
	status.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(up, down, status)
	return cmd
}

// localUp starts the local cloud detached, so that it outlives this command, and waits until it has written its endpoints.
func (a *app) localUp(ctx context.Context) error {
	root, err := checkout()
	if err != nil {
		return err
	}
	home := localHome(root)
	if c, err := runningCloud(home); err == nil {
		fprintf(a.out, "local cloud: running already, %s\n", c.Endpoints["aws"])
		return nil
	} else if !errors.Is(err, errNotRunning) {
		return err
	}
	// What an earlier, killed cloud may have left would hold its ports and its data.
	if err := stopCloud(ctx, home); err != nil {
		return err
	}
	if lost(home) {
		fprintln(a.err, "local cloud: it was killed, or this machine was, and what it held is lost; starting with an empty one")
		if err := removeLocalData(home); err != nil {
			return err
		}
	}
	process, logFile, err := startCloud(root, home)
	if err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- process.Wait() }()

	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("no answer within %s", startLimit))
	defer cancel()
	wait := newSpinner(a.err, "starting the local cloud")
	defer wait.end()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			return fmt.Errorf("local cloud: ended while starting (%w):\n%s", err, lastLines(logFile, 15))
		case <-ctx.Done():
			// A cloud that is half up must not be left behind: the next command could neither use nor find it.
			_ = process.Process.Signal(syscall.SIGTERM)
			<-exited
			return fmt.Errorf("local cloud: %w:\n%s", context.Cause(ctx), lastLines(logFile, 15))
		case <-tick.C:
			wait.turn()
			c, err := readCloud(home)
			if err != nil {
				return err
			}
			if c.PID != nil && int(*c.PID) == process.Process.Pid {
				wait.end()
				fprintf(a.out, "local cloud: ready, %s\n", c.Endpoints["aws"])
				return nil
			}
		}
	}
}

// startCloud starts the launcher in a session of its own, its output in a log below the home.
func startCloud(root, home string) (*exec.Cmd, string, error) {
	python := filepath.Join(root, ".venv", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return nil, "", fmt.Errorf("local cloud: %w; run 'make deps' first", err)
	}
	logFile := filepath.Join(home, "cloud", "launcher.log")
	if err := os.MkdirAll(filepath.Dir(logFile), 0o750); err != nil {
		return nil, "", fmt.Errorf("local cloud: %w", err)
	}
	log, err := os.Create(logFile)
	if err != nil {
		return nil, "", fmt.Errorf("local cloud: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own copy
	cmd := exec.Command(python, "-m", "local.cloud", "--home", home,
		"--jars", filepath.Join(root, ".jars"), "--fake-gcs-server", filepath.Join(root, "bin", "fake-gcs-server"))
	cmd.Dir = root
	cmd.Env = append(os.Environ(), homeMark+"="+home)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("local cloud: %w", err)
	}
	return cmd, logFile, nil
}

// lastLines returns the end of a log, for an error message.
func lastLines(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (a *app) localDown(ctx context.Context, destroy bool, giveUp time.Duration) error {
	if giveUp <= 0 {
		return usagef("--give-up-after %s: must be longer than nothing, for example 10m", giveUp)
	}
	root, err := checkout()
	if err != nil {
		return err
	}
	home := localHome(root)
	if destroy {
		if err := a.destroyLocal(ctx, root, home, giveUp); err != nil {
			return err
		}
	}
	if err := stopCloud(ctx, home); err != nil {
		return err
	}
	fprintln(a.out, "local cloud: stopped, no process of it is left")
	if !destroy {
		return nil
	}
	return removeLocalData(home)
}

// lost tells whether the local cloud of a home, which does not run, could not save what it held. Its file says so while it runs.
func lost(home string) bool {
	_, err := os.Stat(unsaved(home))
	return err == nil
}

// unsaved is the file that is there while what the local cloud holds is in memory only.
func unsaved(home string) string { return filepath.Join(home, "cloud", "unsaved") }

// destroyLocal lets Pulumi destroy the stack. A stack that cannot be destroyed, because an interrupted deployment or a deleted folder
// left half of it or because a resource never goes, is reported and then removed with its data: on this machine nothing else holds any part of it.
func (a *app) destroyLocal(ctx context.Context, root, home string, giveUp time.Duration) error {
	deployed, err := hasState(home)
	if err != nil || !deployed {
		return err
	}
	if err := a.endPulumi(ctx, home); err != nil {
		return err
	}
	if _, err := runningCloud(home); errors.Is(err, errNotRunning) && lost(home) {
		fprintln(a.err, "local cloud: it was killed, or this machine was, and the stack is lost with it; deleting what is left")
		return nil
	}
	if err := a.localUp(ctx); err != nil {
		fprintf(a.err, "sluice: %v\nsluice: its data will be deleted without a destroy\n", err)
		return ctx.Err()
	}
	if err = unlockState(ctx, root, home); err == nil {
		err = a.destroyWatched(ctx, root, home, giveUp)
	}
	if err != nil && ctx.Err() == nil {
		fprintf(a.err, "sluice: %v\nsluice: the stack is removed with its data instead\n", err)
		return nil
	}
	return err
}

// removeLocalData deletes what belongs to a destroyed stack. Demo files stay: they were downloaded, and serve the next time. When it is
// killed, the next start does it again: the cloud counts as lost from the beginning, and goes last and in one step.
func removeLocalData(home string) error {
	cloud, going := filepath.Join(home, "cloud"), filepath.Join(home, "cloud.deleted")
	err := os.WriteFile(unsaved(home), nil, 0o600)
	if errors.Is(err, fs.ErrNotExist) { // no cloud
		err = nil
	}
	for _, name := range []string{"state", "rehearsal", "pulumi", "cloud.json", "cloud.deleted"} {
		err = errors.Join(err, os.RemoveAll(filepath.Join(home, name)))
	}
	if err == nil {
		if err = os.Rename(cloud, going); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err = errors.Join(err, os.RemoveAll(going)); err != nil {
		return fmt.Errorf("local cloud: %w", err)
	}
	return nil
}

func (a *app) localStatus(asJSON bool) error {
	root, err := checkout()
	if err != nil {
		return err
	}
	home := localHome(root)
	c, err := runningCloud(home)
	if err != nil && !errors.Is(err, errNotRunning) {
		return err
	}
	status := cloudStatus{Running: err == nil, Home: home, PID: c.PID, Endpoints: c.Endpoints, PIDs: c.PIDs, CA: c.CA, Account: c.Account, Region: c.Region}
	if !status.Running {
		status.Endpoints, status.PIDs = map[string]string{}, map[string]int32{}
	}
	if status.Memory, err = memoryOf(status.PIDs); err != nil {
		return err
	}
	if status.Disk, err = diskOf(home); err != nil {
		return err
	}
	if asJSON {
		return printJSON(a.out, status)
	}
	if !status.Running {
		fprintln(a.out, errNotRunning.Error())
		return nil
	}
	rows := newTable("service", "endpoint", "pid", "memory")
	rows.numbers("memory")
	for _, name := range sortedKeys(status.Endpoints, status.PIDs) {
		pid, memory := "", ""
		if id, ok := status.PIDs[name]; ok {
			pid, memory = fmt.Sprint(id), megabytes(status.Memory[name])
		}
		rows.add(name, status.Endpoints[name], pid, memory)
	}
	rows.print(a.out)
	fprintf(a.out, "\nfiles in %s: %s\n", home, megabytes(uint64(status.Disk)))
	return nil
}
