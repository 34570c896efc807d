package driver

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/sluice-data/sluice/internal/engine"
	"github.com/sluice-data/sluice/internal/job"
)

func TestOutcomesAndBytesAreCountedOnce(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewJSONHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })

	w.succeed(airports)
	w.receive(airports.String() + "/data.csv") // the event once more
	w.land(airports2, "faa,name\n")
	w.work()
	w.finish(airports2, 1, engine.Status{State: engine.Failed, Reason: "out of memory"})
	w.finish(airports2, 1, engine.Status{State: engine.Failed, Reason: "out of memory"}) // so the event
	for range 2 {
		w.now = w.now.Add(time.Hour)
		w.tick()
		w.work()
		w.fail(airports2, "out of memory")
	}
	w.is(airports2, job.Dead, "out of memory")

	counted := map[string]float64{}
	for _, line := range bytes.Split(bytes.TrimSpace(log.Bytes()), []byte("\n")) {
		var members map[string]any
		if err := json.Unmarshal(line, &members); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"RunsSucceeded", "RunsFailed", "BytesLanded", "JobsFailed", "JobsDead", "JobsBlocked", "JobsHeld", "ExportsFailed"} {
			if value, ok := members[name].(float64); ok {
				counted[name] += value
			}
		}
	}
	if want := map[string]float64{"RunsFailed": 3, "JobsDead": 1, "RunsSucceeded": 1, "BytesLanded": 4 + 9}; !reflect.DeepEqual(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
}
