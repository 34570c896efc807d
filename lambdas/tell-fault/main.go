// Command tell-fault is invoked with each event that a function gave up, and by what runs without a job and failed: the nightly Glue jobs
// and crawlers, and state machines. It tells people, once a fault.
package main

import (
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
	"github.com/sluice-data/sluice/internal/settings"
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
	cfg, err := lambdaenv.AWS()
	if err != nil {
		return nil, err
	}
	return &handler{country.Stack, country.Country, ledger.New(dynamodb.NewFromConfig(cfg), country.Tables), messages.NewTopics(sns.NewFromConfig(cfg), country), time.Now}, nil
}
