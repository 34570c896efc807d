package terraform

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// timeoutsKey is where Terraform's SDK keeps the time limits of a resource, in nanoseconds by operation, among the
// private data of its state. Resources without limits, and those of the newer framework, do not have it.
const timeoutsKey = "e2bfb730-ecaa-11e6-8f88-34363bc7c4c0"

type limit struct {
	duration time.Duration
	recorded []byte
}

type limitKey struct{}

// WithTimeout limits how long an apply may wait for AWS, in place of the resource's own limit. Of a resource that
// is to be deleted, recorded is the private data in its state.
func WithTimeout(ctx context.Context, d time.Duration, recorded []byte) context.Context {
	return context.WithValue(ctx, limitKey{}, limit{d, recorded})
}

// limited returns the private data for an apply, with the limit that WithTimeout asks for.
func limited(ctx context.Context, in *tfprotov6.ApplyResourceChangeRequest) ([]byte, error) {
	l, ok := ctx.Value(limitKey{}).(limit)
	if !ok {
		return in.PlannedPrivate, nil
	}
	private := in.PlannedPrivate
	if len(private) == 0 {
		private = l.recorded
	}
	var data map[string]json.RawMessage
	if json.Unmarshal(private, &data) != nil || data[timeoutsKey] == nil {
		return in.PlannedPrivate, nil
	}
	operation, err := operationOf(in)
	if err != nil {
		return nil, err
	}
	timeouts := map[string]int64{}
	if err := json.Unmarshal(data[timeoutsKey], &timeouts); err != nil {
		return nil, err
	}
	timeouts[operation] = l.duration.Nanoseconds()
	if data[timeoutsKey], err = json.Marshal(timeouts); err != nil {
		return nil, err
	}
	return json.Marshal(data)
}

func operationOf(in *tfprotov6.ApplyResourceChangeRequest) (string, error) {
	if created, err := isNull(in.PriorState); err != nil || created {
		return "create", err
	}
	if deleted, err := isNull(in.PlannedState); err != nil || deleted {
		return "delete", err
	}
	return "update", nil
}
