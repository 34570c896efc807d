package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/sluice-data/sluice/internal/compute/parameters"
	"github.com/sluice-data/sluice/internal/discovery"
	jobs "github.com/sluice-data/sluice/internal/job"
	ledgers "github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/seal"
)

// connect opens a country of a deployed stack.
func connect(ctx context.Context, c discovery.Country) (place, error) {
	stack, code := c.Stack, c.Country
	cfg, err := awsConfig(ctx, stack, c.Region)
	if err != nil {
		return place{}, err
	}
	desk, err := newCountryDesk(cfg, c)
	if err != nil {
		return place{}, err
	}
	book := ledgers.New(dynamodb.NewFromConfig(cfg), c.Tables)
	return place{
		desk:    desk,
		code:    code,
		Country: c,
		ledger:  countryLedger{book, code},
		objects: s3Objects{transfermanager.New(s3.NewFromConfig(cfg)), seal.New(s3.NewFromConfig(cfg), kms.NewFromConfig(cfg))},
		athena:  athena.NewFromConfig(cfg),

		switchboard: parameters.New(ssm.NewFromConfig(cfg), stack, code),
		clusters:    emrClusters{emr.NewFromConfig(cfg), book, stack, code},
		application: serverlessApplication{emrserverless.NewFromConfig(cfg), c.Compute.Serverless.ApplicationID, 2 * time.Second},
	}, nil
}

// s3Objects uploads to S3, large files in parts. Encryption is the bucket's default.
type s3Objects struct {
	manager *transfermanager.Client
	sealer  seal.Sealer
}

func (o s3Objects) Seal(ctx context.Context, bucket, key, keyARN string, body io.ReadSeeker) error {
	return o.sealer.Put(ctx, bucket, key, keyARN, body)
}

func (o s3Objects) Upload(ctx context.Context, bucket, key string, body io.Reader) error {
	in := &transfermanager.UploadObjectInput{Bucket: aws.String(bucket), Key: aws.String(key), Body: body}
	if sized, ok := body.(interface{ Size() int64 }); ok {
		in.ContentLength = aws.Int64(sized.Size()) // else the parts have a size of which S3 takes 78 GiB at most
	}
	_, err := o.manager.UploadObject(ctx, in)
	return err
}

// countryLedger reads a country's ledger as what the commands print.
type countryLedger struct {
	ledger  *ledgers.Ledger
	country string
}

func (l countryLedger) Jobs(ctx context.Context, feed, day string) ([]job, error) {
	var found []jobs.Job
	var err error
	if feed != "" && day != "" {
		var one jobs.Job
		one, err = l.ledger.Get(ctx, jobs.ID{Feed: feed, Day: jobs.Day(day)})
		if errors.Is(err, ledgers.ErrNoJob) {
			return nil, nil
		}
		found = []jobs.Job{one}
	} else {
		found, err = l.ledger.List(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("country %q: %w", l.country, err)
	}
	var list []job
	for _, j := range found {
		if (feed != "" && j.Feed != feed) || (day != "" && string(j.Day) != day) {
			continue
		}
		var acts []done
		for _, act := range j.Acts {
			acts = append(acts, done{string(act.Verb), act.By, act.Reason, known(act.At)})
		}
		list = append(list, job{
			closed: j.Done(), setAside: j.State == jobs.Cancelled && !j.Done() && !j.TakenBack(), revision: j.Revision, retryAt: known(j.RetryAt), acts: acts,
			Country: l.country, Feed: j.Feed, Day: string(j.Day), State: string(j.State), Engine: j.Engine, Attempts: j.Token, Reason: j.Reason,
			Input: j.Counts.Input, Validated: j.Counts.Validated, Invalid: j.Counts.Invalid, New: j.Counts.New, Changed: j.Counts.Changed,
			Unchanged: j.Counts.Unchanged, Duplicate: j.Counts.Duplicate, Deleted: j.Counts.Deleted, Exported: j.Exported,
			StartedAt: known(j.StartedAt), FinishedAt: known(j.FinishedAt), Sizing: j.Sizing,
		})
	}
	return list, nil
}

func (l countryLedger) Runs(ctx context.Context, feed, day string) ([]attempt, error) {
	runs, err := l.ledger.Runs(ctx, jobs.ID{Feed: feed, Day: jobs.Day(day)})
	if err != nil {
		return nil, fmt.Errorf("country %q: %w", l.country, err)
	}
	var list []attempt
	for _, r := range runs {
		list = append(list, attempt{
			Token: r.Token, State: string(r.State), Engine: r.Engine, Reason: r.Reason, ClusterID: r.ClusterID, StepID: r.StepID, Order: r.Order,
			StartedAt: known(r.StartedAt), FinishedAt: known(r.FinishedAt), Sizing: r.Sizing,
		})
	}
	return list, nil
}

func (l countryLedger) Files(ctx context.Context, feed, day string) ([]file, error) {
	id := jobs.ID{Feed: feed, Day: jobs.Day(day)}
	files, err := l.ledger.Files(ctx, id)
	if err != nil {
		return l.files(nil, err)
	}
	j, err := l.ledger.Get(ctx, id)
	if errors.Is(err, ledgers.ErrNoJob) {
		err = nil
	}
	for n, f := range files {
		if j.Void(f) {
			files[n].State, files[n].Reason = jobs.Retracted, "the day was retracted after this file had come"
		}
	}
	return l.files(files, err)
}

func (l countryLedger) Rejected(ctx context.Context) ([]file, error) {
	files, err := l.ledger.Rejected(ctx)
	return l.files(files, err)
}

func (l countryLedger) Feeds(ctx context.Context) (map[string]feed, error) {
	found, err := l.ledger.Feeds(ctx)
	if err != nil {
		return nil, fmt.Errorf("country %q: %w", l.country, err)
	}
	feeds := map[string]feed{}
	for name, f := range found {
		feeds[name] = feed{Completeness: string(f.Completeness), ClientSide: f.ClientSide}
		if f.Completeness == jobs.ByMarker {
			feeds[name] = feed{Completeness: string(f.Completeness), Marker: jobs.Marker, ClientSide: f.ClientSide}
		}
	}
	return feeds, nil
}

func (l countryLedger) files(files []jobs.File, err error) ([]file, error) {
	if err != nil {
		return nil, fmt.Errorf("country %q: %w", l.country, err)
	}
	var list []file
	for _, f := range files {
		list = append(list, file{
			Country: l.country, Bucket: f.Bucket, Key: f.Key, Bytes: f.Bytes, State: string(f.State), Reason: f.Reason, LandedAt: known(f.LandedAt),
		})
	}
	return list, nil
}

// known returns nil for a time that has not come.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
