package main

import (
	"context"
	"errors"
	"os"
	"testing"
)

type worker struct {
	worked int
	err    error
}

func (w *worker) Work(context.Context) error {
	w.worked++
	return w.err
}

func TestWhateverWakesItMakesItLookAtTheLedger(t *testing.T) {
	for _, name := range []string{"message", "tick"} {
		text, err := os.ReadFile("testdata/" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		w := &worker{}
		if err := (&handler{w}).Handle(t.Context(), text); err != nil || w.worked != 1 {
			t.Errorf("%s: worked %d times, %v", name, w.worked, err)
		}
	}
}

func TestErrorIsReturnedSoThatItIsTriedAgain(t *testing.T) {
	w := &worker{err: errors.New("throttled")}
	if err := (&handler{w}).Handle(t.Context(), nil); !errors.Is(err, w.err) {
		t.Errorf("got %v", err)
	}
}
