package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// stuckLimit is how long no resource may begin or end to go before a destroy counts as stuck. The slowest ones that were seen, buckets
	// on a machine with two busy cores, take one minute.
	stuckLimit = 10 * time.Minute
	// progressInterval is how often it is said what a destroy waits for, where Pulumi does not draw it.
	progressInterval = 30 * time.Second
	// progressPoll is how often Pulumi's events are read.
	progressPoll = time.Second
)

// stuckError is the cause of a context that ended because a destroy did not move.
type stuckError struct{ text string }

func (e stuckError) Error() string { return e.text }

// destroyProgress follows a destroy by Pulumi's events.
type destroyProgress struct {
	total int       // total is how many resources there were.
	gone  int       // gone is how many are deleted.
	moved time.Time // moved is when a resource last began or ended to go.
	going map[string]time.Time
	rest  []byte // rest is the part of an event that is not written to its end yet.
}

// engineEvent is the part of an engine's event that says what becomes of a resource; see
// https://pkg.go.dev/github.com/pulumi/pulumi/sdk/v3/go/common/apitype#EngineEvent
type engineEvent struct {
	Begun  *stepEvent `json:"resourcePreEvent"`
	Ended  *stepEvent `json:"resOutputsEvent"`
	Failed *stepEvent `json:"resOpFailedEvent"`
}

type stepEvent struct {
	Metadata struct {
		Op  string `json:"op"`
		URN string `json:"urn"`
	} `json:"metadata"`
}

// read takes events as they come, one a line; the last one may still be in writing.
func (p *destroyProgress) read(text []byte, now time.Time) {
	lines := bytes.Split(append(p.rest, text...), []byte("\n"))
	p.rest = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		var event engineEvent
		if json.Unmarshal(line, &event) != nil {
			continue // an event of a kind that is not followed
		}
		switch {
		case event.Begun != nil && event.Begun.Metadata.Op == "delete":
			p.going[event.Begun.Metadata.URN], p.moved = now, now
		case event.Ended != nil && event.Ended.Metadata.Op == "delete":
			p.gone++
			p.moved = now
			delete(p.going, event.Ended.Metadata.URN)
		case event.Failed != nil:
			p.moved = now
			delete(p.going, event.Failed.Metadata.URN)
		}
	}
}

// waitsFor says how far a destroy is, and which resource has been going for longest.
func (p *destroyProgress) waitsFor(now time.Time) string {
	text := fmt.Sprintf("%d of %d resources are deleted", p.gone, p.total)
	urns := sortedKeys(p.going, map[string]bool{})
	if len(urns) == 0 {
		return text + "; none is being deleted"
	}
	first := slices.MinFunc(urns, func(x, y string) int { return p.going[x].Compare(p.going[y]) })
	text += fmt.Sprintf("; %s is being deleted since %s", resourceOf(first), now.Sub(p.going[first]).Round(time.Second))
	if others := len(urns) - 1; others > 0 {
		text += fmt.Sprintf(", and %d more", others)
	}
	return text
}

// resourceOf returns type and name of a URN, without the components that the resource is in.
func resourceOf(urn string) string {
	parts := strings.SplitN(urn, "::", 4) // urn:pulumi:stack::project::parents$type::name
	if len(parts) < 4 {
		return urn
	}
	return parts[2][strings.LastIndex(parts[2], "$")+1:] + " " + parts[3]
}

// destroyWatched lets Pulumi destroy the stack local, says what it waits for, and ends it when nothing moved for the limit.
func (a *app) destroyWatched(ctx context.Context, root, home string, limit time.Duration) error {
	state, err := readState(home)
	if err != nil {
		return err
	}
	path := filepath.Join(home, "state", "destroy.events")
	events, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	defer func() { _ = errors.Join(events.Close(), os.Remove(path)) }() // it is deleted with the state at the latest
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() {
		// Not with --remove, which would delete Pulumi.local.yaml too: the stack goes with its state.
		ended <- a.runPulumiWith(ctx, root, []string{"SLUICE_EVENTS=" + path},
			"destroy", "--yes", "--skip-preview", "--suppress-outputs", "--parallel", parallelOperations, "--stack", localStack)
	}()
	tick, stop := a.every(progressPoll)
	defer stop()
	said := a.now()
	progress := destroyProgress{total: state.resources, moved: said, going: map[string]time.Time{}}
	for {
		select {
		case err := <-ended:
			var stuck stuckError
			if errors.As(context.Cause(ctx), &stuck) {
				return errors.Join(stuck, a.endPulumi(context.WithoutCancel(ctx), home))
			}
			return err
		case <-tick:
		}
		text, err := io.ReadAll(events)
		if err != nil {
			cancel(nil)
			return errors.Join(fmt.Errorf("destroy: %w", err), <-ended)
		}
		now := a.now()
		progress.read(text, now)
		if ctx.Err() == nil && now.Sub(progress.moved) > limit {
			text := fmt.Sprintf("destroy: nothing moved for %s: %s", limit, progress.waitsFor(now))
			cancel(stuckError{text + "\nsluice: to wait longer for it next time: sluice local down --destroy --give-up-after " + (3 * limit).String()})
		}
		if now.Sub(said) >= progressInterval && !isTerminal(a.out) {
			said = now
			fprintln(a.out, "destroy:", progress.waitsFor(now))
		}
	}
}
