// Command finish-job is woken by state changes of EMR's steps and clusters, and of EMR Serverless's and Glue's job runs. It records how runs ended, queues the jobs that waited
// for them, and announces both.
package main

import (
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
	zone, err := country.Location()
	if err != nil {
		return nil, err
	}
	objects := s3.NewFromConfig(cfg)
	book := ledger.New(dynamodb.NewFromConfig(cfg), country.Tables)
	artifacts := store.NewBucket(objects, country.Buckets.Artifacts)
	topics := messages.NewTopics(sns.NewFromConfig(cfg), country)
	tickets := messages.NewTickets(sqs.NewFromConfig(cfg), country)
	landing := store.NewBucket(objects, country.Buckets.Landing)
	h := &handler{
		stack: country.Stack, country: country.Country,
		ledger: book,
		engine: engine.Engines{
			sizing.EMR:           adapter.NewEMR(emr.NewFromConfig(cfg, adapter.Patient), country, adapter.EMRArgs{}), // it starts nothing
			sizing.EMRServerless: adapter.NewServerless(emrserverless.NewFromConfig(cfg), country),
			sizing.Glue:          adapter.NewGlue(glue.NewFromConfig(cfg), country),
		},
		finisher: driver.Finisher{Ledger: book, Artifacts: artifacts, Tickets: tickets, Now: time.Now},
		promoter: driver.Promoter{Ledger: book, Landing: landing, Tickets: tickets, Topics: topics,
			Zone: zone, Parallel: country.Parallel, Now: time.Now},
		teller: driver.Teller{Ledger: book, Artifacts: artifacts, Topics: topics, Now: time.Now,
			Days: driver.Intake{Ledger: book, Landing: landing, Alerts: topics, Zone: zone, Now: time.Now}},
	}
	return h.Handle, nil
}
