// Command tell-fault is invoked with each event that a function gave up, and by what runs without a job and failed: the nightly Glue jobs
// and crawlers, and state machines. It tells people, once a fault.
package main

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/messages"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	return (&handler{country.Stack, country.Country, ledger.New(dynamodb.NewFromConfig(cfg), country.Tables), messages.NewTopics(sns.NewFromConfig(cfg), country), time.Now}).Handle, nil
}
