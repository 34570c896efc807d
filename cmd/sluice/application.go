package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless/types"
)

// serverlessApplication is a country's application on EMR Serverless.
type serverlessApplication struct {
	client *emrserverless.Client
	id     string
	pause  time.Duration // pause is how long it waits before it looks again.
}

// Stop stops the application if it is started, and returns when it has stopped; it tells whether there was something to do. While a run
// is on it, AWS refuses.
func (s serverlessApplication) Stop(ctx context.Context) (bool, error) {
	for stopped := false; ; {
		got, err := s.client.GetApplication(ctx, &emrserverless.GetApplicationInput{ApplicationId: &s.id})
		if err != nil {
			return false, fmt.Errorf("emr serverless application %s: %w", s.id, err)
		}
		switch got.Application.State {
		case types.ApplicationStateStarted:
			if _, err := s.client.StopApplication(ctx, &emrserverless.StopApplicationInput{ApplicationId: &s.id}); err != nil {
				return false, fmt.Errorf("emr serverless application %s: %w", s.id, err)
			}
			stopped = true
		case types.ApplicationStateCreating, types.ApplicationStateStarting, types.ApplicationStateStopping:
		default:
			return stopped, nil
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("emr serverless application %s is %s: %w", s.id, got.Application.State, context.Cause(ctx))
		case <-time.After(s.pause):
		}
	}
}
