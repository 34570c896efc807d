// Command receive-file is woken by every object that lands, some at a time. It records the files and, when their day is complete, creates
// the day's job, queues its ticket and announces it.
package main

import (
	"time"
	_ "time/tzdata" // the runtime brings no time zones

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/driver"
	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/store"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	zone, err := country.Location()
	if err != nil {
		return nil, err
	}
	book := ledger.New(dynamodb.NewFromConfig(cfg), country.Tables)
	landing := store.NewBucket(s3.NewFromConfig(cfg), country.Buckets.Landing)
	topics := messages.NewTopics(sns.NewFromConfig(cfg), country)
	tickets := messages.NewTickets(sqs.NewFromConfig(cfg), country)
	h := &handler{
		bucket:   country.Buckets.Landing,
		intake:   driver.Intake{Ledger: book, Landing: landing, Alerts: topics, Zone: zone, Now: time.Now},
		promoter: driver.Promoter{Ledger: book, Landing: landing, Tickets: tickets, Topics: topics, Zone: zone, Parallel: country.Parallel, Now: time.Now},
	}
	return h.Handle, nil
}
