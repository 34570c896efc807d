package engine

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-data/sluice/internal/job"
)

// RunName is the name of a run within its country.
func RunName(id job.ID, token int64) string { return fmt.Sprintf("%s#%d", id, token) }

// StepName is the name of a run on an engine that countries share; it has the run's token, so it is unique for ever.
func StepName(stack, country string, id job.ID, token int64) string {
	return stepPrefix(stack, country) + RunName(id, token)
}

func stepPrefix(stack, country string) string { return "sluice/" + stack + "/" + country + "/" }

// ParseStepName reads back what StepName wrote; it is false for a step that is none of this country's runs.
func ParseStepName(stack, country, name string) (job.ID, int64, bool) {
	rest, ours := strings.CutPrefix(name, stepPrefix(stack, country))
	text, number, ok := strings.Cut(rest, "#")
	token, err := strconv.ParseInt(number, 10, 64)
	if !ours || !ok || err != nil || token < 1 {
		return job.ID{}, 0, false
	}
	id, err := job.ParseID(text)
	return id, token, err == nil
}
