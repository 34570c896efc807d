package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/shirou/gopsutil/v4/process"
)

// stateFiles matches the state of the stack local; the folder between is the project's.
func stateFiles(home string) string {
	return filepath.Join(home, "state", ".pulumi", "stacks", "*", localStack+".json")
}

// hasState tells whether a home holds the state of a deployed stack.
func hasState(home string) (bool, error) {
	found, err := filepath.Glob(stateFiles(home))
	if err != nil {
		return false, fmt.Errorf("state: %w", err)
	}
	return len(found) > 0, nil
}

// unfinished returns what of the stack local was killed, "up" or "destroy", so that the state does not tell what it did: bin/pulumi notes it.
// It is empty when the last one ended by itself.
func unfinished(home string) string {
	text, err := os.ReadFile(filepath.Join(home, "state", "unfinished"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// stackState is what the state of the stack local tells.
type stackState struct {
	resources int  // resources is how many Pulumi knows.
	creating  bool // creating says that there are some whose creation nobody saw the end of.
}

// readState reads the state of the stack local; the zero value when it was never deployed.
func readState(home string) (stackState, error) {
	states, err := filepath.Glob(stateFiles(home))
	if err != nil {
		return stackState{}, fmt.Errorf("state: %w", err)
	}
	var all stackState
	for _, path := range states {
		text, err := os.ReadFile(path)
		if err != nil {
			return stackState{}, fmt.Errorf("state: %w", err)
		}
		var state struct {
			Checkpoint struct {
				Latest struct {
					Resources         []struct{} `json:"resources"`
					PendingOperations []struct {
						Type string `json:"type"`
					} `json:"pending_operations"`
				} `json:"latest"`
			} `json:"checkpoint"`
		}
		if err := json.Unmarshal(text, &state); err != nil {
			return stackState{}, fmt.Errorf("state: %s: %w", path, err)
		}
		all.resources += len(state.Checkpoint.Latest.Resources)
		for _, operation := range state.Checkpoint.Latest.PendingOperations {
			all.creating = all.creating || operation.Type == "creating"
		}
	}
	return all, nil
}

// lock is what Pulumi's file backend writes while it works on a stack.
type lock struct {
	PID      int32  `json:"pid"`
	Hostname string `json:"hostname"`
}

// unlockState removes the lock of a Pulumi process that was killed. A lock whose owner lives is left alone, and is an error.
func unlockState(ctx context.Context, root, home string) error {
	owners, err := lockOwners(home)
	if err != nil || len(owners) == 0 {
		return err
	}
	if i := slices.IndexFunc(owners, isAlive); i >= 0 {
		return fmt.Errorf("state: another pulumi (process %d) works on the stack; wait until it ended", owners[i])
	}
	if _, err := pulumi(ctx, root, "cancel", "--yes", "--stack", localStack); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// lockOwners returns the processes that locked the stack local, living or not.
func lockOwners(home string) ([]int32, error) {
	var owners []int32
	err := filepath.WalkDir(filepath.Join(home, "state", ".pulumi", "locks"), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // also of a lock that was given back meanwhile
			return nil
		}
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		var l lock
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		owners = append(owners, l.PID)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return owners, nil
}

// endPulumi ends every Pulumi that works on the stack local, which is about to be destroyed: in order, or at the time limit by force.
func (a *app) endPulumi(ctx context.Context, home string) error {
	owners, err := lockOwners(home)
	if err != nil {
		return err
	}
	for _, pid := range owners {
		p, err := process.NewProcess(pid)
		if err != nil || !isPulumi(p) {
			continue
		}
		fprintf(a.err, "sluice: another pulumi (process %d) works on the stack; ending it\n", pid)
		ended := func() bool { return !alive(p) }
		signalAll([]*process.Process{p}, syscall.SIGINT)
		if waitUntil(ctx, stopLimit, ended) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		signalAll([]*process.Process{p}, syscall.SIGKILL)
		waitUntil(ctx, stopLimit, ended)
	}
	return nil
}

// isPulumi tells whether a process is a living Pulumi: the id in an old lock may be that of another process by now.
func isPulumi(p *process.Process) bool {
	line, err := p.CmdlineSlice()
	return err == nil && alive(p) && slices.ContainsFunc(line, func(word string) bool { return strings.HasPrefix(filepath.Base(word), "pulumi") })
}

// runPulumi runs Pulumi with its own display, for a person to watch.
func (a *app) runPulumi(ctx context.Context, root string, args ...string) error {
	return a.runPulumiWith(ctx, root, nil, args...)
}

// runPulumiWith is runPulumi with more environment variables.
func (a *app) runPulumiWith(ctx context.Context, root string, env []string, args ...string) error {
	drawing := isTerminal(a.out)
	if !drawing {
		args = append(args, "--suppress-progress", "--color", "never")
	}
	cmd := pulumiCommand(ctx, root, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = a.out, a.err
	if drawing {
		cmd.Stdin = os.Stdin
	}
	// Pulumi ends in order at the first interrupt and at once, leaving its state half written, at the second. Where it draws on a
	// terminal, Ctrl-C reaches it without us; elsewhere it is kept out of our process group, for the interrupt to come from us only.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: !drawing}
	cmd.Cancel = func() error {
		var by interrupted
		if errors.As(context.Cause(ctx), &by) && by.signal == os.Interrupt && drawing {
			return nil
		}
		var stuck stuckError
		if errors.As(context.Cause(ctx), &stuck) {
			cmd.WaitDelay = stopLimit // a person may interrupt once more; here nobody would
		}
		return cmd.Process.Signal(syscall.SIGTERM) // bin/pulumi passes it on as the one interrupt
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pulumi %s: %w", args[0], err)
	}
	return nil
}
