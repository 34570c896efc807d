// Command start-jobs is woken by the topic of jobs and every minute. It takes tickets, asks engines for runs whose end nobody told, readies
// the jobs whose time has come, gives free slots to ready jobs and starts their runs. One of it runs at a time.
package main

import (
	"context"
	"time"
	_ "time/tzdata" // the runtime brings no time zones

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/emr"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/glue"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/sluice-data/sluice/internal/compute/parameters"
	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/driver"
	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/engine/adapter"
	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/sizing"
	"github.com/sluice-data/sluice/internal/store"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	s, err := newStarter(country, cfg)
	return (&handler{s}).Handle, err
}

func newStarter(country discovery.Country, cfg aws.Config) (driver.Starter, error) {
	zone, err := country.Location()
	if err != nil {
		return driver.Starter{}, err
	}
	book := ledger.New(dynamodb.NewFromConfig(cfg), country.Tables)
	objects := s3.NewFromConfig(cfg)
	landing, artifacts := store.NewBucket(objects, country.Buckets.Landing), store.NewBucket(objects, country.Buckets.Artifacts)
	onClusters := adapter.NewEMR(emr.NewFromConfig(cfg, adapter.Patient), country, adapter.EMRArgs{
		Template: func(ctx context.Context) ([]byte, error) { return artifacts.ReadAll(ctx, country.Compute.TemplateKey) },
		Runs:     book.Running,
		Closing:  book.Closing,
		Refused:  driver.InstanceTypes{Faults: book, Alerts: messages.NewTopics(sns.NewFromConfig(cfg), country), Now: time.Now}.Refused,
	})
	tickets := messages.NewTickets(sqs.NewFromConfig(cfg), country)
	return driver.Starter{
		Ledger: book, Tickets: tickets, Artifacts: artifacts, Country: country, Now: time.Now,
		Engine: engine.Engines{
			sizing.EMR:           onClusters,
			sizing.EMRServerless: adapter.NewServerless(emrserverless.NewFromConfig(cfg), country),
			sizing.Glue:          adapter.NewGlue(glue.NewFromConfig(cfg), country),
		},
		Clusters: onClusters,
		Switch:   parameters.Of(ssm.NewFromConfig(cfg), country),
		Finisher: driver.Finisher{Ledger: book, Artifacts: artifacts, Tickets: tickets, Now: time.Now},
		// It announces nothing: that would wake this very function.
		Promoter: driver.Promoter{Ledger: book, Landing: landing, Tickets: tickets, Zone: zone, Parallel: country.Parallel, Now: time.Now},
	}, nil
}
