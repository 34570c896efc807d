package sizing

import "testing"

func TestDecisionNamesClusterAndReason(t *testing.T) {
	for name, c := range map[string]struct {
		engine       string
		files, bytes int64
		up           []string
		want         Decision
	}{
		"first file of the day": {"auto", 1, 842, nil, Decision{842, 1, "emr", "small", NewCluster,
			"842 bytes in 1 file: a new cluster small, for days of up to 2.0 GB; no running cluster is large enough"}},
		"a cluster is up": {"auto", 2, 75_211, []string{"large", "small"}, Decision{75_211, 2, "emr", "small", RunningCluster,
			"75.2 kB in 2 files: the running cluster small is large enough"}},
		"only a larger one is up": {"auto", 1, 1, []string{"large"}, Decision{1, 1, "emr", "large", RunningCluster,
			"1 byte in 1 file: the running cluster large is large enough"}},
		"only a smaller one is up": {"auto", 9, 2_000_000_001, []string{"small"}, Decision{2_000_000_001, 9, "emr", "medium", NewCluster,
			"2.0 GB in 9 files: a new cluster medium, for days of up to 20.0 GB; no running cluster is large enough"}},
		"more than any size is meant for": {"auto", 1, 5_000_000_000_000, nil, Decision{5_000_000_000_000, 1, "emr", "large", NewCluster,
			"5.0 TB in 1 file: a new cluster large, for days of more than 20.0 GB; no running cluster is large enough"}},
		"a limit belongs to the smaller size": {"auto", 1, 2_000_000_000, nil, Decision{2_000_000_000, 1, "emr", "small", NewCluster,
			"2.0 GB in 1 file: a new cluster small, for days of up to 2.0 GB; no running cluster is large enough"}},
		"EMR is the engine of who names none": {"", 1, 1, []string{"small"}, Decision{1, 1, "emr", "small", RunningCluster,
			"1 byte in 1 file: the running cluster small is large enough"}},
		"Serverless has no clusters": {"emr-serverless", 1, 842, []string{"small"}, Decision{842, 1, "emr-serverless", "small", OwnWorkers,
			"842 bytes in 1 file: the feed asks for EMR Serverless; small, 2 executors of 4 cores at most, for days of up to 2.0 GB"}},
		"nor has Glue": {"glue", 9, 2_000_000_001, []string{"large"}, Decision{2_000_000_001, 9, "glue", "medium", OwnWorkers,
			"2.0 GB in 9 files: the feed asks for Glue; medium, 10 workers G.1X, for days of up to 20.0 GB"}},
		"an unknown engine is kept, for the starter to refuse": {"hadoop", 1, 1, []string{"small"}, Decision{1, 1, "hadoop", "small", RunningCluster,
			"1 byte in 1 file: the running cluster small is large enough"}},
	} {
		if got := Decide(c.engine, c.files, c.bytes, c.up); got != c.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, c.want)
		}
	}
}

func TestSizesGrow(t *testing.T) {
	for i, s := range sizes {
		if got, ok := Named(s.Name); !ok || got != s {
			t.Errorf("%s is not found by its name", s.Name)
		}
		if s.MaxUnits < s.Core {
			t.Errorf("%s may not grow to its own start", s.Name)
		}
		if last := i == len(sizes)-1; last != (s.MaxBytes == 0) {
			t.Errorf("%s: only the largest size is without limit", s.Name)
		}
		if i > 0 && (s.Core <= sizes[i-1].Core || s.MaxBytes != 0 && s.MaxBytes <= sizes[i-1].MaxBytes) {
			t.Errorf("%s is not larger than %s", s.Name, sizes[i-1].Name)
		}
		if i > 0 && (s.Serverless.Cores*s.Serverless.Executors <= sizes[i-1].Serverless.Cores*sizes[i-1].Serverless.Executors || s.Glue.Workers <= sizes[i-1].Glue.Workers) {
			t.Errorf("%s has no more workers than %s", s.Name, sizes[i-1].Name)
		}
		// What EMR Serverless has: for 4 vCPUs 8 to 30 GB, for 8 vCPUs 16 to 60 GB, in steps of 4; Spark adds a tenth for itself.
		w := s.Serverless
		if total := float64(w.MemoryGB) * 1.1; w.Cores != 4 && w.Cores != 8 || total < float64(2*w.Cores) || total > 7.5*float64(w.Cores) {
			t.Errorf("%s: EMR Serverless has no worker of %d vCPUs and %.1f GB", s.Name, w.Cores, total)
		}
		if w.DiskGB < 20 || w.DiskGB > 200 || i > 0 && w.DiskGB <= sizes[i-1].Serverless.DiskGB {
			t.Errorf("%s: an executor has a disk of %d GB", s.Name, w.DiskGB)
		}
	}
	if _, ok := Named("huge"); ok {
		t.Error("found a size that does not exist")
	}
}

func TestEstimateGrowsWithBytesForAnyDay(t *testing.T) {
	last := Estimate(0)
	for bytes := int64(1_000_000); bytes < 1e17; bytes *= 10 {
		if got := Estimate(bytes); got <= last {
			t.Errorf("%d bytes: %v is not longer than %v", bytes, got, last)
		} else {
			last = got
		}
	}
}
