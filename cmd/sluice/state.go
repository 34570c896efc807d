package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
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

// hasPendingCreates tells whether the state of the stack names resources whose creation nobody saw the end of.
func hasPendingCreates(home string) (bool, error) {
	states, err := filepath.Glob(stateFiles(home))
	if err != nil {
		return false, fmt.Errorf("state: %w", err)
	}
	for _, path := range states {
		text, err := os.ReadFile(path)
		if err != nil {
			return false, fmt.Errorf("state: %w", err)
		}
		var state struct {
			Checkpoint struct {
				Latest struct {
					PendingOperations []struct {
						Type string `json:"type"`
					} `json:"pending_operations"`
				} `json:"latest"`
			} `json:"checkpoint"`
		}
		if err := json.Unmarshal(text, &state); err != nil {
			return false, fmt.Errorf("state: %s: %w", path, err)
		}
		for _, operation := range state.Checkpoint.Latest.PendingOperations {
			if operation.Type == "creating" {
				return true, nil
			}
		}
	}
	return false, nil
}

// lock is what Pulumi's file backend writes while it works on a stack.
type lock struct {
	PID      int32  `json:"pid"`
	Hostname string `json:"hostname"`
}

// unlockState removes the lock of a Pulumi process that was killed. A lock whose owner lives is left alone, and is an error.
func unlockState(ctx context.Context, root, home string) error {
	stale := false
	locks := filepath.Join(home, "state", ".pulumi", "locks")
	err := filepath.WalkDir(locks, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var l lock
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if isAlive(l.PID) {
			return fmt.Errorf("another pulumi (process %d) works on the stack; wait until it ended", l.PID)
		}
		stale = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if !stale {
		return nil
	}
	if _, err := pulumi(ctx, root, "cancel", "--yes", "--stack", localStack); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// runPulumi runs Pulumi with its own display, for a person to watch.
func (a *app) runPulumi(ctx context.Context, root string, args ...string) error {
	if !isTerminal(a.out) {
		args = append(args, "--suppress-progress", "--color", "never")
	}
	cmd := pulumiCommand(ctx, root, args...)
	cmd.Stdout, cmd.Stderr, cmd.Stdin = a.out, a.err, os.Stdin
	cmd.Cancel = func() error {
		// Pulumi ends in order at the first interrupt and at once, leaving its state half written, at the second. On a terminal
		// Ctrl-C reaches it without us.
		var by interrupted
		if errors.As(context.Cause(ctx), &by) && by.signal == os.Interrupt && isTerminal(a.out) {
			return nil
		}
		return cmd.Process.Signal(syscall.SIGTERM) // bin/pulumi passes it on as the one interrupt
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pulumi %s: %w", args[0], err)
	}
	return nil
}
