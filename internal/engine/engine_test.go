package engine

import (
	"context"
	"slices"
	"testing"

	"github.com/sluice-data/sluice/internal/job"
)

// named is an engine that notes what it was asked.
type named struct {
	name  string
	calls *[]string
}

func (n named) Start(_ context.Context, r job.Run, _ func(job.Run) error) (job.Run, error) {
	*n.calls = append(*n.calls, "start on "+n.name)
	return r, nil
}

func (n named) Status(context.Context, job.Run) (Status, error) {
	*n.calls = append(*n.calls, "status of "+n.name)
	return Status{}, nil
}

func (n named) Cancel(context.Context, job.Run) error {
	*n.calls = append(*n.calls, "cancel on "+n.name)
	return nil
}

func TestEachRunGoesToItsOwnEngine(t *testing.T) {
	var calls []string
	all := Engines{"emr": named{"emr", &calls}, "glue": named{"glue", &calls}}
	if _, err := all.Start(t.Context(), job.Run{Engine: "glue"}, nil); err != nil {
		t.Error(err)
	}
	if _, err := all.Status(t.Context(), job.Run{Engine: "emr"}); err != nil {
		t.Error(err)
	}
	if err := all.Cancel(t.Context(), job.Run{Engine: "glue"}); err != nil {
		t.Error(err)
	}
	if want := []string{"start on glue", "status of emr", "cancel on glue"}; !slices.Equal(calls, want) {
		t.Errorf("got %q", calls)
	}
	const want = `engine "hadoop" is none of auto, emr, glue`
	if _, err := all.Start(t.Context(), job.Run{Engine: "hadoop"}, nil); err == nil || err.Error() != want {
		t.Error(err)
	}
	if _, err := all.Status(t.Context(), job.Run{Engine: "hadoop"}); err == nil || err.Error() != want {
		t.Error(err)
	}
	if err := all.Cancel(t.Context(), job.Run{Engine: "hadoop"}); err == nil || err.Error() != want {
		t.Error(err)
	}
}
