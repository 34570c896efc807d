package driver

import (
	"context"

	"github.com/sluice-data/sluice/internal/messages"
)

// InstanceTypes reports instance types that EMR refuses.
type InstanceTypes struct {
	Faults Faults
	Alerts Alerts
	Now    Clock
}

// refusedNext is what to do about an instance type that EMR refuses.
const refusedNext = "clusters are started without it; deploy again, which leaves out what a zone has not, or take another type (sluice:compute.primaryType, coreType)"

// Refused sends one alert of an instance type that clusters are started without, however many are.
func (t InstanceTypes) Refused(ctx context.Context, instanceType, why string) error {
	first, before, err := firstOf(ctx, t.Faults, t.Now(), "instance-type/"+instanceType)
	if err != nil || !first {
		return err
	}
	return t.Alerts.Alert(ctx, messages.Event{Type: "instance-type.refused", Source: instanceType, Reason: why + before, Next: refusedNext})
}
