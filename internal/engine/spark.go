package engine

import (
	"github.com/sluice-data/sluice/internal/settings"
)

// icebergJar is where EMR's releases have Iceberg.
const icebergJar = "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar"

// StepArgs is what a step on EMR executes: the record job, with the lake's catalog, for one order.
func StepArgs(c settings.Country, order string) []string {
	args := []string{"spark-submit", "--deploy-mode", "client", "--jars", icebergJar}
	for _, s := range Catalog(c) {
		args = append(args, "--conf", s[0]+"="+s[1])
	}
	artifacts := "s3://" + c.Buckets.Artifacts + "/"
	return append(args, "--py-files", artifacts+c.Compute.PackageKey, artifacts+c.Compute.MainKey, "--order", order)
}

// Catalog is the Spark configuration under which the record job finds the country's tables: Iceberg on the Glue catalog, objects
// encrypted with the country's key. It is rendered here for every engine.
func Catalog(c settings.Country) [][2]string {
	const lake = "spark.sql.catalog.lake"
	return [][2]string{
		{"spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"},
		{lake, "org.apache.iceberg.spark.SparkCatalog"},
		{lake + ".catalog-impl", "org.apache.iceberg.aws.glue.GlueCatalog"},
		{lake + ".io-impl", "org.apache.iceberg.aws.s3.S3FileIO"},
		{lake + ".warehouse", "s3://" + c.Buckets.Curated + "/"}, // every table names its own location
		{lake + ".s3.sse.type", "kms"},
		{lake + ".s3.sse.key", c.Compute.KMSKeyARN},
	}
}
