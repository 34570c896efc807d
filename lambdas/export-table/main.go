// Command export-table is woken when a day has succeeded. It brings the day's curated rows to BigQuery, with no key of Google's but
// its own role.
package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/lambdaenv"
	"github.com/sluice-data/sluice/internal/ledger"
	"github.com/sluice-data/sluice/internal/store"
	"github.com/sluice-data/sluice/internal/warehouse"
)

func main() { lambdaenv.Start(wire) }

func wire(country discovery.Country, cfg aws.Config) (any, error) {
	identity, err := warehouse.Identity(country.Google, cfg)
	if err != nil {
		return nil, err
	}
	objects := store.NewAnywhere(s3.NewFromConfig(cfg))
	h := &handler{
		country: country.Country,
		exporter: warehouse.Exporter{
			Ledger:    ledger.New(dynamodb.NewFromConfig(cfg), country.Tables),
			Manifests: objects,
			Warehouse: warehouse.New(country.Google, identity, objects),
		},
	}
	return h.Handle, nil
}
