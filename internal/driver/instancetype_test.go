package driver

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/messages"
)

// noted remembers faults and alerts in memory.
type noted struct {
	faults map[string]job.Fault
	alerts []messages.Event
	broken bool
}

func (n *noted) Fault(_ context.Context, name string) (job.Fault, error) { return n.faults[name], nil }

func (n *noted) SaveFault(_ context.Context, name string, _, is job.Fault) error {
	if n.broken {
		return errors.New("no ledger")
	}
	n.faults[name] = is
	return nil
}

func (n *noted) Alert(_ context.Context, e messages.Event) error {
	n.alerts = append(n.alerts, e)
	return nil
}

func TestRefusedInstanceTypeIsOneAlert(t *testing.T) {
	now := time.Date(2013, 1, 2, 5, 0, 0, 0, time.UTC)
	n := &noted{faults: map[string]job.Fault{}}
	types := InstanceTypes{n, n, func() time.Time { return now }}
	for range 3 {
		for _, name := range []string{"m7gd.xlarge", "r7gd.xlarge"} {
			if err := types.Refused(t.Context(), name, "Instance type '"+name+"' is not supported."); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Minute)
	}
	if len(n.alerts) != 2 || n.alerts[0].Source != "m7gd.xlarge" || n.alerts[0].Type != "instance-type.refused" || !strings.Contains(n.alerts[0].Next, "sluice:compute.primaryType") {
		t.Errorf("alerts: %+v", n.alerts)
	}
	n.broken = true
	if err := types.Refused(t.Context(), "m6g.xlarge", "x"); err == nil || len(n.alerts) != 2 {
		t.Errorf("%v, alerts: %+v", err, n.alerts)
	}
}
