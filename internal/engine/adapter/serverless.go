package adapter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless/types"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/internal/spark"
)

// Serverless runs each run as a job run of the country's EMR Serverless application, on workers of its own.
type Serverless struct {
	client  *emrserverless.Client
	country discovery.Country
}

var _ engine.Engine = (*Serverless)(nil)

// NewServerless makes the engine of a country. It does not touch the network.
func NewServerless(client *emrserverless.Client, country discovery.Country) *Serverless {
	return &Serverless{client, country}
}

// serverlessTimeout ends a run that hangs; no day takes as long.
const serverlessTimeout = 12 * time.Hour

// Start has the application run a run. Its token makes starting it twice starting it once.
func (s *Serverless) Start(ctx context.Context, r job.Run, save func(job.Run) error) (job.Run, error) {
	r.ClusterID = s.country.Compute.Serverless.ApplicationID
	size, ok := sizing.Named(r.Sizing.Size)
	if !ok {
		return r, fmt.Errorf("emr serverless: no size %q", r.Sizing.Size)
	}
	name := engine.StepName(s.country.Stack, s.country.Country, r.ID, r.Token)
	main, args, submit := spark.ServerlessSubmit(s.country, r.Order, size.Serverless)
	started, err := s.client.StartJobRun(ctx, &emrserverless.StartJobRunInput{
		ApplicationId:           &r.ClusterID,
		ClientToken:             aws.String(clientToken(name)),
		Name:                    &name,
		ExecutionRoleArn:        &s.country.Compute.Serverless.RoleARN,
		ExecutionTimeoutMinutes: aws.Int64(int64(serverlessTimeout / time.Minute)),
		JobDriver:               &types.JobDriverMemberSparkSubmit{Value: types.SparkSubmit{EntryPoint: &main, EntryPointArguments: args, SparkSubmitParameters: &submit}},
		ConfigurationOverrides: &types.ConfigurationOverrides{
			MonitoringConfiguration: &types.MonitoringConfiguration{
				S3MonitoringConfiguration: &types.S3MonitoringConfiguration{
					LogUri: aws.String("s3://" + s.country.Buckets.Logs + "/emr-serverless/"), EncryptionKeyArn: &s.country.Compute.LogKeyARN},
				// The service's own store would keep a copy out of the country's reach.
				ManagedPersistenceMonitoringConfiguration: &types.ManagedPersistenceMonitoringConfiguration{Enabled: aws.Bool(false)},
			},
			DiskEncryptionConfiguration: &types.DiskEncryptionConfiguration{EncryptionKeyArn: &s.country.Compute.KMSKeyARN,
				EncryptionContext: map[string]string{discovery.WorkerDisks: discovery.DisksOf(s.country.Stack, s.country.Country)}},
		},
		Tags: map[string]string{"Product": "sluice", "Stack": s.country.Stack, "Country": s.country.Country, "Feed": r.ID.Feed},
	})
	var conflict *types.ConflictException
	switch {
	case err == nil:
		r.StepID = aws.ToString(started.JobRunId)
	case errors.As(err, &conflict):
		// The token was used for something else: the same run, before a deployment changed the job's package.
		if r.StepID, err = s.find(ctx, name, r.StartedAt); err != nil {
			return r, err
		}
		if r.StepID == "" {
			return r, fmt.Errorf("emr serverless: job run %s: %w", name, conflict)
		}
	default:
		return r, fmt.Errorf("emr serverless: job run %s: %w", name, err)
	}
	return r, save(r)
}

// clientToken is a run's idempotency token: a name has characters that a token cannot have.
func clientToken(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// clockSkew is how far a service's clock may be behind ours.
const clockSkew = 15 * time.Minute

// find returns the id of the job run of that name, or "".
func (s *Serverless) find(ctx context.Context, name string, since time.Time) (string, error) {
	pages := emrserverless.NewListJobRunsPaginator(s.client, &emrserverless.ListJobRunsInput{
		ApplicationId: &s.country.Compute.Serverless.ApplicationID, CreatedAtAfter: aws.Time(since.Add(-clockSkew))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", fmt.Errorf("emr serverless: job runs: %w", err)
		}
		for _, found := range page.JobRuns {
			if aws.ToString(found.Name) == name {
				return aws.ToString(found.Id), nil
			}
		}
	}
	return "", nil
}

// Status asks for the run's job run. One that was taken down with its application has ended: an application is deleted only when nothing
// runs on it.
func (s *Serverless) Status(ctx context.Context, r job.Run) (engine.Status, error) {
	gone := engine.Status{State: engine.Failed, Reason: fmt.Sprintf("the application %s of job run %s was taken down", r.ClusterID, r.StepID)}
	if r.ClusterID != s.country.Compute.Serverless.ApplicationID {
		return gone, nil // we may not even ask for it
	}
	got, err := s.client.GetJobRun(ctx, &emrserverless.GetJobRunInput{ApplicationId: &r.ClusterID, JobRunId: &r.StepID})
	if missing := (*types.ResourceNotFoundException)(nil); errors.As(err, &missing) {
		return gone, nil
	}
	if err != nil {
		return engine.Status{}, fmt.Errorf("emr serverless: job run %s of application %s: %w", r.StepID, r.ClusterID, err)
	}
	if got.JobRun == nil {
		return engine.Status{}, fmt.Errorf("emr serverless: job run %s of application %s: the answer is empty", r.StepID, r.ClusterID)
	}
	reason := strings.TrimSpace(aws.ToString(got.JobRun.StateDetails))
	if reason == "" {
		reason = fmt.Sprintf("the job run is %s; its log is in the logs bucket", got.JobRun.State)
	}
	switch got.JobRun.State {
	case types.JobRunStateSuccess:
		return engine.Status{State: engine.Succeeded}, nil
	case types.JobRunStateFailed:
		return engine.Status{State: engine.Failed, Reason: reason}, nil
	case types.JobRunStateCancelled:
		return engine.Status{State: engine.Cancelled, Reason: reason}, nil
	}
	return engine.Status{State: engine.Active}, nil
}

// Cancel ends the run's job run.
func (s *Serverless) Cancel(ctx context.Context, r job.Run) error {
	if _, err := s.client.CancelJobRun(ctx, &emrserverless.CancelJobRunInput{ApplicationId: &r.ClusterID, JobRunId: &r.StepID}); err != nil {
		return fmt.Errorf("emr serverless: cancel job run %s of application %s: %w", r.StepID, r.ClusterID, err)
	}
	return nil
}
