// Command queue-jobs is woken by a schedule, or by the polling driver. It takes in files that no event told of, opens the days whose window
// ended, brings the plan up to date, queues tickets, tells what is still to be told, and answers how many jobs go on by themselves.
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
	objects := s3.NewFromConfig(cfg)
	book := ledger.New(dynamodb.NewFromConfig(cfg), country.Tables)
	landing := store.NewBucket(objects, country.Buckets.Landing)
	topics := messages.NewTopics(sns.NewFromConfig(cfg), country)
	tickets := messages.NewTickets(sqs.NewFromConfig(cfg), country)
	intake := driver.Intake{Ledger: book, Landing: landing, Alerts: topics, Zone: zone, Now: time.Now}
	h := &handler{
		intake:   intake,
		promoter: driver.Promoter{Ledger: book, Landing: landing, Tickets: tickets, Topics: topics, Zone: zone, Parallel: country.Parallel, Now: time.Now},
		teller:   driver.Teller{Ledger: book, Artifacts: store.NewBucket(objects, country.Buckets.Artifacts), Topics: topics, Days: intake, Now: time.Now},
		ledger:   book,
	}
	return h.Handle, nil
}
