package spark

import (
	"slices"
	"strings"
	"testing"

	"github.com/sluice-data/sluice/internal/discovery"
	"github.com/sluice-data/sluice/internal/sizing"
)

// Without it S3A asks us-east-2, wherever it runs.
func TestEveryEngineReadsS3InTheRegionOfItsCountry(t *testing.T) {
	c := discovery.Country{Region: "sa-east-1"}
	const want = "spark.hadoop.fs.s3a.endpoint.region=sa-east-1"
	_, _, submit := ServerlessSubmit(c, "order", sizing.ServerlessWorkers{})
	for engine, settings := range map[string][]string{
		"emr":            StepArgs(c, "order"),
		"emr-serverless": strings.Fields(submit),
		"glue":           strings.Split(GlueArguments(c, "order", "run")["--conf"], " --conf "),
		"glue's upkeep":  strings.Split(GlueConf(c), " --conf "),
	} {
		if !slices.Contains(settings, want) {
			t.Errorf("%s: no %s in %q", engine, want, settings)
		}
	}
	if got := Hadoop("sa-east-1"); len(got) != 1 || got["fs.s3a.endpoint.region"] != "sa-east-1" {
		t.Errorf("core-site: %v", got)
	}
}
