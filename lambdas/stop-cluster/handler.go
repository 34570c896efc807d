package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/sluice-data/sluice/internal/cluster"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
)

// running is a cluster of the country that is up.
type running struct {
	ID       string
	Standing bool
	Waiting  bool
	ReadyAt  time.Time
}

// clusters is EMR.
type clusters interface {
	// Up returns the country's clusters that are up, or coming.
	Up(ctx context.Context) ([]running, error)
	// Steps counts the steps of a cluster that have not ended.
	Steps(ctx context.Context, id string) (int, error)
	// Terminate ends clusters.
	Terminate(ctx context.Context, ids ...string) error
	// Gone returns when no cluster of the country is up or ending.
	Gone(ctx context.Context) error
}

// application is the country's application on EMR Serverless.
type application interface {
	// Stop ends the application's runs and stops it, and returns when it has stopped.
	Stop(ctx context.Context) error
}

// book is the ledger.
type book interface {
	Close(ctx context.Context, clusterID string) error
	Keep(ctx context.Context, clusterID string) error
	Closing(ctx context.Context) ([]string, error)
	RunsOn(ctx context.Context, clusterID string) ([]job.Run, error)
}

// computeSwitch is the compute switch of the country's standing cluster.
type computeSwitch interface {
	// Off switches it off, and notes the cluster that ended: what the deployment knows of it makes room for another once it is on again.
	Off(ctx context.Context, clusterID string) error
}

type alerts interface {
	Alert(ctx context.Context, e messages.Event) error
}

// handler ends clusters: the standing one when its alarm says that it is idle, or the polling driver that all is done, and nothing is on it;
// and what the deployment is about to take away. It records when a standing cluster is gone, so that the next deployment does not make it again.
type handler struct {
	country    string
	patience   time.Duration
	clusters   clusters
	serverless application
	ledger     book
	compute    computeSwitch
	alerts     alerts
	now        func() time.Time
}

// event is any of the four that the function gets.
type event struct {
	// Records are messages of the idle alarm's topic.
	Records []struct {
		SNS struct{ Message string } `json:"Sns"`
	}

	// Done is the polling driver's: no job goes on by itself any more.
	Done bool `json:"done"`

	// DetailType and Detail are of EMR's own events.
	DetailType string          `json:"detail-type"`
	Detail     json.RawMessage `json:"detail"`

	// Lifecycle is the deployment's, about the standing cluster, or about all that runs when it names none.
	Lifecycle *struct {
		Action   string `json:"action"`
		Previous struct {
			Cluster string `json:"cluster"`
		} `json:"prev_input"`
	} `json:"tf"`
	Cluster string `json:"cluster"`
}

// Handle does what an event asks for.
func (h *handler) Handle(ctx context.Context, text json.RawMessage) error {
	var e event
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("event: %w", err)
	}
	switch {
	case len(e.Records) > 0:
		var faults []error
		for _, r := range e.Records {
			faults = append(faults, h.alarm(ctx, r.SNS.Message))
		}
		return errors.Join(faults...)
	case e.Done:
		return h.stopQuiet(ctx, 0, "has nothing to do: all jobs are done")
	case e.DetailType == "EMR Cluster State Change":
		return h.ended(ctx, e.Detail)
	case e.Lifecycle != nil:
		return h.lifecycle(ctx, e.Lifecycle.Action, e.Cluster, e.Lifecycle.Previous.Cluster)
	}
	return fmt.Errorf("event: neither an alarm, nor that all is done, nor the end of a cluster, nor a deployment's: %.200s", text)
}

// alarm ends the standing clusters that are quiet. A message that the alarm is over asks for nothing.
func (h *handler) alarm(ctx context.Context, message string) error {
	var alarm struct {
		Name  string `json:"AlarmName"`
		State string `json:"NewStateValue"`
	}
	if err := json.Unmarshal([]byte(message), &alarm); err != nil {
		return fmt.Errorf("alarm: %w", err)
	}
	if alarm.State != "ALARM" {
		return nil
	}
	return h.stopQuiet(ctx, h.patience, "was idle")
}

// stopQuiet ends the standing clusters that are quiet and have been up for as long as patience, and says why.
func (h *handler) stopQuiet(ctx context.Context, patience time.Duration, why string) error {
	up, err := h.clusters.Up(ctx)
	if err != nil {
		return err
	}
	var faults []error
	for _, c := range up {
		if c.Standing {
			faults = append(faults, h.stopIfQuiet(ctx, c, patience, why))
		}
	}
	return errors.Join(faults...)
}

// stopIfQuiet looks, closes the cluster to new runs, looks again, and only then ends it: a run that chose the cluster before it was
// closed is seen by the second look, and one that chooses later sees that it is closed.
func (h *handler) stopIfQuiet(ctx context.Context, c running, patience time.Duration, why string) error {
	quiet, reason, err := h.quiet(ctx, c, patience)
	if err != nil {
		return err
	}
	if !quiet {
		slog.InfoContext(ctx, "cluster stays", "id", c.ID, "reason", reason)
		return nil
	}
	if err := h.ledger.Close(ctx, c.ID); err != nil {
		return err
	}
	quiet, reason, err = h.quiet(ctx, c, patience)
	if err != nil || !quiet {
		slog.InfoContext(ctx, "cluster stays", "id", c.ID, "reason", reason)
		return errors.Join(err, h.ledger.Keep(ctx, c.ID))
	}
	// From here on every step can be repeated: dying in between leaves a cluster that nobody uses, which its own time-out ends.
	if err := h.compute.Off(ctx, c.ID); err != nil {
		return err
	}
	if err := h.clusters.Terminate(ctx, c.ID); err != nil {
		return err
	}
	slog.InfoContext(ctx, "cluster ends", "id", c.ID)
	return h.tell(ctx, "cluster.stopped", "cluster "+c.ID+" "+why)
}

// quiet looks at a cluster as it is now.
func (h *handler) quiet(ctx context.Context, c running, patience time.Duration) (bool, string, error) {
	up, err := h.clusters.Up(ctx)
	if err != nil {
		return false, "", err
	}
	i := slices.IndexFunc(up, func(now running) bool { return now.ID == c.ID })
	if i < 0 {
		return false, "it is not up any more", nil
	}
	runs, err := h.ledger.RunsOn(ctx, c.ID)
	if err != nil {
		return false, "", err
	}
	steps, err := h.clusters.Steps(ctx, c.ID)
	if err != nil {
		return false, "", err
	}
	ok, reason := cluster.MayStop(cluster.Observation{Waiting: up[i].Waiting, ReadyAt: up[i].ReadyAt, Steps: steps, Runs: len(runs)}, patience, h.now())
	return ok, reason, nil
}

// ended records that a standing cluster is gone. What the idle stop or a deployment ended was closed before; the idle stop has recorded
// it, and a deployment means it.
func (h *handler) ended(ctx context.Context, detail json.RawMessage) error {
	var change struct {
		ClusterID string `json:"clusterId"`
		State     string `json:"state"`
		Message   string `json:"message"`
	}
	if err := json.Unmarshal(detail, &change); err != nil {
		return fmt.Errorf("cluster state change: %w", err)
	}
	if change.State != "TERMINATED" && change.State != "TERMINATED_WITH_ERRORS" {
		return nil
	}
	closing, err := h.ledger.Closing(ctx)
	if err != nil {
		return err
	}
	if slices.Contains(closing, change.ClusterID) {
		return h.ledger.Keep(ctx, change.ClusterID)
	}
	up, err := h.clusters.Up(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(up, func(c running) bool { return c.Standing }) {
		return nil // another one took its place
	}
	if err := h.compute.Off(ctx, change.ClusterID); err != nil {
		return err
	}
	return h.tell(ctx, "cluster.ended", change.Message)
}

// lifecycle is the deployment's: what it is about to end is closed to new runs first. A cluster that is to be replaced must have no runs.
// When the whole country goes, no cluster may stay that holds on to its network.
func (h *handler) lifecycle(ctx context.Context, action, id, previous string) error {
	switch {
	case action == "update" && previous != "" && previous != id:
		if up, err := h.up(ctx, previous); !up {
			return err
		}
		if err := h.ledger.Close(ctx, previous); err != nil {
			return err
		}
		runs, err := h.ledger.RunsOn(ctx, previous)
		if err == nil && len(runs) > 0 {
			err = fmt.Errorf("cluster %s still runs %s; deploy again when that has ended", previous, runs[0].ID)
		}
		if err != nil {
			return errors.Join(err, h.ledger.Keep(ctx, previous))
		}
		return nil
	case action == "delete" && id != "":
		if up, err := h.up(ctx, id); !up {
			return err
		}
		return h.ledger.Close(ctx, id)
	case action == "delete":
		// AWS deletes no application that is started.
		return errors.Join(h.endAll(ctx), h.serverless.Stop(ctx))
	}
	return nil
}

// up tells whether a cluster is; there is nothing to close about one that ended before.
func (h *handler) up(ctx context.Context, id string) (bool, error) {
	up, err := h.clusters.Up(ctx)
	return slices.ContainsFunc(up, func(c running) bool { return c.ID == id }), err
}

// endAll ends every cluster, and returns when all are gone: until then EMR needs their roles, and their machines have the security groups.
func (h *handler) endAll(ctx context.Context) error {
	up, err := h.clusters.Up(ctx)
	if err != nil {
		return err
	}
	if len(up) == 0 {
		return h.clusters.Gone(ctx)
	}
	ids := []string{}
	for _, c := range up {
		if err := h.ledger.Close(ctx, c.ID); err != nil {
			return err
		}
		ids = append(ids, c.ID)
	}
	slog.InfoContext(ctx, "all clusters end", "ids", ids)
	if err := h.clusters.Terminate(ctx, ids...); err != nil {
		return err
	}
	return h.clusters.Gone(ctx)
}

func (h *handler) tell(ctx context.Context, kind, reason string) error {
	return h.alerts.Alert(ctx, messages.Event{Type: kind, Reason: reason,
		Next: "nothing, jobs start clusters of their own; for a standing one again: sluice compute on --part standing --country " + h.country + ", then deploy"})
}
