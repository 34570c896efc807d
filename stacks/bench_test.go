//go:build bench

package main

import (
	"fmt"
	"math"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProgramTimeGrowsWithItsCountriesAndNoFaster measures the whole program against a recorder instead of an engine, and writes the
// table into the file that $BENCH_OUT names.
func TestProgramTimeGrowsWithItsCountriesAndNoFaster(t *testing.T) {
	const mostSlope, mostPerResource = 1.1, 25 * time.Millisecond
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	var table strings.Builder
	table.WriteString("| countries | resources | CPU seconds | ms a resource |\n|---|---|---|---|\n")
	var xs, ys []float64
	for _, n := range []int{1, 2, 5, 10, 20, 50, 100, 200} {
		started := cpuTime(t)
		registered, err := deployed(t, "test", head+"  sluice:countries:\n"+manyCountries(n), root, &recorder{zones: 3})
		if err != nil {
			t.Fatal(err)
		}
		took := cpuTime(t) - started
		each := took / time.Duration(len(registered))
		fmt.Fprintf(&table, "| %d | %d | %.2f | %.2f |\n", n, len(registered), took.Seconds(), float64(each.Microseconds())/1000)
		if each > mostPerResource {
			t.Errorf("%d countries: %s a resource, more than %s", n, each, mostPerResource)
		}
		xs, ys = append(xs, math.Log(float64(n))), append(ys, math.Log(took.Seconds()))
	}
	slope := slopeOf(xs, ys)
	if slope > mostSlope {
		t.Errorf("the log-log slope is %.2f, more than %.1f", slope, mostSlope)
	}
	fmt.Fprintf(&table, "\nLog-log slope of time over countries: %.2f.\n", slope)
	if path := os.Getenv("BENCH_OUT"); path != "" {
		if err := os.WriteFile(path, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("\n" + table.String())
}

// cpuTime is what this process has worked so far: what else the machine does changes it least.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// slopeOf is the slope of the line that fits best.
func slopeOf(xs, ys []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i, x := range xs {
		sx, sy, sxx, sxy = sx+x, sy+ys[i], sxx+x*x, sxy+x*ys[i]
	}
	n := float64(len(xs))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}
