// Command receive-file is woken by every object that lands, some at a time. It records the files and, when their day is complete, creates
// the day's job, queues its ticket and announces it.
package main

import (
	"log/slog"
	"os"
	"time"
	_ "time/tzdata" // the runtime brings no time zones

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/sluice-data/sluice/internal/driver"
	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/settings"
	"github.com/sluice-data/sluice/internal/store"
)

func main() {
	lambdaenv.Log()
	h, err := wire()
	if err != nil {
		slog.Error(err.Error())
		os.Exit(1)
	}
	lambda.Start(h.Handle)
}

func wire() (*handler, error) {
	country, err := settings.FromEnv()
	if err != nil {
		return nil, err
	}
	zone, err := country.Location()
	if err != nil {
		return nil, err
	}
	cfg, err := lambdaenv.AWS()
	if err != nil {
		return nil, err
	}
	book := ledger.New(dynamodb.NewFromConfig(cfg), country.Tables)
	landing := store.NewBucket(s3.NewFromConfig(cfg), country.Buckets.Landing)
	topics := messages.NewTopics(sns.NewFromConfig(cfg), country)
	tickets := messages.NewTickets(sqs.NewFromConfig(cfg), country)
	return &handler{
		bucket:   country.Buckets.Landing,
		intake:   driver.Intake{Ledger: book, Landing: landing, Alerts: topics, Zone: zone, Now: time.Now},
		promoter: driver.Promoter{Ledger: book, Landing: landing, Tickets: tickets, Topics: topics, Zone: zone, Parallel: country.Parallel, Now: time.Now},
	}, nil
}
