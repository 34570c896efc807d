package engine

import (
	"testing"

	"github.com/sluice-data/sluice/internal/job"
)

func TestStepNameIsReadBackAsWritten(t *testing.T) {
	flights := job.ID{Feed: "flights", Day: "2013-01-01"}
	name := StepName("prod", "us", flights, 2)
	if id, token, ok := ParseStepName("prod", "us", name); !ok || id != flights || token != 2 {
		t.Errorf("%s was read as %v, %d, %v", name, id, token, ok)
	}
	for _, name := range []string{"", "sluice/prod/br/flights/2013-01-01#2", "sluice/prod/us/flights/2013-01-01", "sluice/prod/us/flights/2013-01-01#0",
		"sluice/prod/us/flights/2013-01-01#x", "sluice/prod/us/../2013-01-01#1", "Setup Hadoop Debugging"} {
		if id, token, ok := ParseStepName("prod", "us", name); ok {
			t.Errorf("%q was read as %v, %d", name, id, token)
		}
	}
}
