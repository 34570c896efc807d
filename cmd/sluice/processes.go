package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// homeMark is an environment variable that the local cloud's launcher gets and its children inherit. It names the home they belong to,
// so that they can be found even when the launcher itself was killed.
const homeMark = "SLUICE_LOCAL_CLOUD"

// isLauncher tells whether a process is the launcher of a home: ids are used again, so a living id alone says nothing.
func isLauncher(pid int32, home string) bool {
	p, err := process.NewProcess(pid)
	if err != nil {
		return false
	}
	line, err := p.CmdlineSlice()
	return err == nil && alive(p) && slices.Contains(line, "local.cloud") && slices.Contains(line, home)
}

// alive tells whether a process still runs: one that ended but was not yet collected by its parent does not.
func alive(p *process.Process) bool {
	running, err := p.IsRunning()
	if err != nil || !running {
		return false
	}
	states, err := p.Status()
	return err == nil && !slices.Contains(states, process.Zombie)
}

// cloudProcesses returns the living launcher of a home, nil when it ended, and with it everything that it started.
func cloudProcesses(home string) (launcher *process.Process, group []*process.Process, err error) {
	all, err := process.Processes()
	if err != nil {
		return nil, nil, fmt.Errorf("processes: %w", err)
	}
	found := map[int32]bool{}
	for _, p := range all {
		if isLauncher(p.Pid, home) {
			launcher, found[p.Pid] = p, true
		} else if isMarked(p, home) {
			found[p.Pid] = true
		}
	}
	// A child may have dropped its environment: follow the parents too, until nothing new is found.
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if parent, err := p.Ppid(); err == nil && found[parent] && !found[p.Pid] {
				found[p.Pid], grown = true, true
			}
		}
	}
	for _, p := range all {
		if found[p.Pid] && alive(p) {
			group = append(group, p)
		}
	}
	return launcher, group, nil
}

func isMarked(p *process.Process, home string) bool {
	env, err := p.Environ()
	return err == nil && slices.Contains(env, homeMark+"="+home)
}

// stopCloud ends every process of a home: the launcher is asked, and stops its children in order; what is still there at the time limit
// is killed. It returns an error when even then something is left.
func stopCloud(ctx context.Context, home string) error { return stopCloudWithin(ctx, home, stopLimit) }

func stopCloudWithin(ctx context.Context, home string, limit time.Duration) error {
	launcher, group, err := cloudProcesses(home)
	if err != nil || len(group) == 0 {
		return err
	}
	ask := group // orphans: nobody is left to stop them in order
	if launcher != nil {
		ask = []*process.Process{launcher}
	}
	signalAll(ask, syscall.SIGTERM)
	if waitGone(ctx, home, group, limit) {
		return nil
	}
	_, late, err := cloudProcesses(home)
	if err != nil {
		return err
	}
	group = append(group, late...)
	signalAll(group, syscall.SIGKILL)
	if waitGone(ctx, home, group, stopLimit) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var names []string
	for _, p := range group {
		if alive(p) {
			name, _ := p.Name() // a name is only for the message
			names = append(names, fmt.Sprintf("%d %s", p.Pid, name))
		}
	}
	return fmt.Errorf("local cloud: still running after a kill: %s", strings.Join(names, ", "))
}

func signalAll(group []*process.Process, signal syscall.Signal) {
	for _, p := range group {
		if alive(p) {
			_ = p.SendSignal(signal) // it may have ended in between, which is what is wanted
		}
	}
}

// waitGone waits until no process of the group, and no later child of the home, is alive.
func waitGone(ctx context.Context, home string, group []*process.Process, limit time.Duration) bool {
	return waitUntil(ctx, limit, func() bool {
		if slices.ContainsFunc(group, alive) {
			return false
		}
		_, late, err := cloudProcesses(home)
		group = late
		return err == nil && len(late) == 0
	})
}

// waitUntil waits until something holds, and tells whether it does at the time limit or the end of the context.
func waitUntil(ctx context.Context, limit time.Duration, holds func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// isAlive tells whether a process with this id runs.
func isAlive(pid int32) bool {
	p, err := process.NewProcess(pid)
	return err == nil && alive(p)
}

// memoryOf returns what processes take of this machine's memory, each with all that it started, in bytes. One that ended takes nothing.
func memoryOf(pids map[string]int32) (map[string]uint64, error) {
	all, err := process.Processes()
	if err != nil {
		return nil, fmt.Errorf("processes: %w", err)
	}
	started := map[int32][]*process.Process{}
	for _, p := range all {
		if parent, err := p.Ppid(); err == nil {
			started[parent] = append(started[parent], p)
		}
	}
	var sum func(p *process.Process) uint64
	sum = func(p *process.Process) (bytes uint64) {
		if memory, err := p.MemoryInfo(); err == nil {
			bytes = memory.RSS
		}
		for _, child := range started[p.Pid] {
			bytes += sum(child)
		}
		return bytes
	}
	memory := map[string]uint64{}
	for name, pid := range pids {
		memory[name] = 0
		if i := slices.IndexFunc(all, func(p *process.Process) bool { return p.Pid == pid }); i >= 0 {
			memory[name] = sum(all[i])
		}
	}
	return memory, nil
}

// diskOf returns the size of all files below a folder, in bytes. Files that go meanwhile do not count.
func diskOf(folder string) (int64, error) {
	var bytes int64
	err := filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil && entry.Type().IsRegular() {
			if info, err = entry.Info(); err == nil {
				bytes += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("local cloud: %w", err)
	}
	return bytes, nil
}

// megabytes writes a number of bytes for people.
func megabytes(bytes uint64) string { return fmt.Sprintf("%d MB", bytes>>20) }
