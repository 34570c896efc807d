// Package spark renders how the jobs are submitted on each engine: the lake's catalog, which is the same for all, and the ways to ask for
// it, which are not. It imports no AWS SDK.
package spark

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/sizing"
)

// icebergJar is where EMR's releases have Iceberg, on clusters and Serverless alike.
const icebergJar = "/usr/share/aws/iceberg/lib/iceberg-spark3-runtime.jar"

// StepArgs is what a step on EMR executes: the record job, with the lake's catalog, for one order.
func StepArgs(c discovery.Country, order string) []string {
	args := []string{"spark-submit", "--deploy-mode", "client", "--jars", icebergJar}
	for _, s := range Catalog(c) {
		args = append(args, "--conf", s[0]+"="+s[1])
	}
	args = append(args, "--py-files", artifact(c, c.Compute.PackageKey), artifact(c, c.Compute.MainKey))
	return append(args, jobArgs(c, order)...)
}

// jobArgs are the record job's own arguments. The region is named, so that no engine is asked where it runs, in a way of its own.
func jobArgs(c discovery.Country, order string) []string {
	return []string{"--order", order, "--aws-region", c.Region}
}

// ServerlessSubmit is what EMR Serverless executes: the record job's start, its arguments, and the rest of spark-submit's line, which has
// the workers as well, because a run has its own. The service splits that line at spaces, so no value may have any.
func ServerlessSubmit(c discovery.Country, order string, w sizing.ServerlessWorkers) (main string, args []string, submit string) {
	line := []string{"--py-files", artifact(c, c.Compute.PackageKey)}
	for _, s := range append([][2]string{
		{"spark.jars", icebergJar},
		{"spark.driver.cores", strconv.Itoa(int(w.Cores))},
		{"spark.driver.memory", fmt.Sprintf("%dg", w.MemoryGB)},
		{"spark.executor.cores", strconv.Itoa(int(w.Cores))},
		{"spark.executor.memory", fmt.Sprintf("%dg", w.MemoryGB)},
		{"spark.emr-serverless.executor.disk", fmt.Sprintf("%dG", w.DiskGB)},
		{"spark.executor.instances", "1"}, // three by default, which a small day has no use for
		{"spark.dynamicAllocation.maxExecutors", strconv.Itoa(int(w.Executors))},
	}, Catalog(c)...) {
		line = append(line, "--conf", s[0]+"="+s[1])
	}
	return artifact(c, c.Compute.MainKey), jobArgs(c, order), strings.Join(line, " ")
}

// GlueArguments are a Glue run's own arguments, over those of its job.
func GlueArguments(c discovery.Country, order, run string) map[string]string {
	return map[string]string{
		"--scriptLocation":   artifact(c, c.Compute.MainKey), // the version that the order was written for, whatever is deployed meanwhile
		"--extra-py-files":   artifact(c, c.Compute.PackageKey),
		"--datalake-formats": "iceberg",
		"--conf":             GlueConf(c),
		"--order":            order,
		"--aws-region":       c.Region,
		GlueRun:              run,
	}
}

// GlueConf is the catalog as Glue takes it: several settings as the value of one argument. Iceberg itself Glue brings, when asked by name.
func GlueConf(c discovery.Country) string {
	var conf []string
	for _, s := range Catalog(c) {
		conf = append(conf, s[0]+"="+s[1])
	}
	return strings.Join(conf, " --conf ")
}

// GlueRun is the argument by which a Glue run is found again: the job ignores it.
const GlueRun = "--run"

func artifact(c discovery.Country, key string) string {
	return "s3://" + c.Buckets.Artifacts + "/" + key
}

// s3aRegion is the setting of Hadoop that names the region of S3.
//
// From EMR 7.10 on, on clusters and Serverless, and from Glue 5.1 on, s3:// is read by S3A. Without an endpoint and a region S3A asks us-east-2,
// wherever it runs, and is redirected from there; a private subnet without NAT has no route to another region's S3.
// https://docs.aws.amazon.com/emr/latest/ReleaseGuide/emr-s3a-migrate.html
// https://docs.aws.amazon.com/glue/latest/dg/migrating-version-51.html
// https://hadoop.apache.org/docs/stable/hadoop-aws/tools/hadoop-aws/connecting.html
const s3aRegion = "fs.s3a.endpoint.region"

// Hadoop is what core-site.xml says on the nodes of a cluster in a region, for whatever reads S3 there and is not one of our jobs.
func Hadoop(region string) map[string]string {
	return map[string]string{s3aRegion: region}
}

// Catalog is the Spark configuration under which the jobs find the country's files and tables: S3 in the country's region, Iceberg on the
// Glue catalog, objects encrypted with the country's key. It is rendered here for every engine.
func Catalog(c discovery.Country) [][2]string {
	const lake = "spark.sql.catalog.lake"
	return [][2]string{
		{"spark.hadoop." + s3aRegion, c.Region},
		{"spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"},
		{lake, "org.apache.iceberg.spark.SparkCatalog"},
		{lake + ".catalog-impl", "org.apache.iceberg.aws.glue.GlueCatalog"},
		{lake + ".io-impl", "org.apache.iceberg.aws.s3.S3FileIO"},
		{lake + ".warehouse", "s3://" + c.Buckets.Curated + "/"}, // every table names its own location
		{lake + ".s3.sse.type", "kms"},
		{lake + ".s3.sse.key", c.Compute.KMSKeyARN},
	}
}
