// Command export-table is woken when a day has succeeded. It brings the day's curated rows to BigQuery, with no key of Google's but
// its own role.
package main

import (
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/settings"
	"github.com/sluice-data/sluice/internal/store"
	"github.com/sluice-data/sluice/internal/warehouse"
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
	identity, err := warehouse.Identity(country.Google, cfg)
	if err != nil {
		return nil, err
	}
	objects := store.NewAnywhere(s3.NewFromConfig(cfg))
	return &handler{
		country: country.Country,
		exporter: warehouse.Exporter{
			Ledger:    ledger.New(dynamodb.NewFromConfig(cfg), country.Tables),
			Manifests: objects,
			Warehouse: warehouse.New(country.Google, identity, objects),
		},
	}, nil
}
