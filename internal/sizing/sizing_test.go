package sizing

import "testing"

func TestDecisionNamesClusterAndReason(t *testing.T) {
	for name, c := range map[string]struct {
		files, bytes int64
		up           []string
		want         Decision
	}{
		"first file of the day": {1, 842, nil, Decision{842, 1, "small", NewCluster,
			"842 bytes in 1 file: a new cluster small, for days of up to 2.0 GB; no running cluster is large enough"}},
		"a cluster is up": {2, 75_211, []string{"large", "small"}, Decision{75_211, 2, "small", RunningCluster,
			"75.2 kB in 2 files: the running cluster small is large enough"}},
		"only a larger one is up": {1, 1, []string{"large"}, Decision{1, 1, "large", RunningCluster,
			"1 byte in 1 file: the running cluster large is large enough"}},
		"only a smaller one is up": {9, 2_000_000_001, []string{"small"}, Decision{2_000_000_001, 9, "medium", NewCluster,
			"2.0 GB in 9 files: a new cluster medium, for days of up to 20.0 GB; no running cluster is large enough"}},
		"more than any size is meant for": {1, 5_000_000_000_000, nil, Decision{5_000_000_000_000, 1, "large", NewCluster,
			"5.0 TB in 1 file: a new cluster large, for days of more than 20.0 GB; no running cluster is large enough"}},
		"a limit belongs to the smaller size": {1, 2_000_000_000, nil, Decision{2_000_000_000, 1, "small", NewCluster,
			"2.0 GB in 1 file: a new cluster small, for days of up to 2.0 GB; no running cluster is large enough"}},
	} {
		if got := Decide(c.files, c.bytes, c.up); got != c.want {
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
