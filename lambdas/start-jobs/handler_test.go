package main

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sluice-data/sluice/internal/discovery"
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

func TestPlansAreMadeInTheZoneOfTheCountryAndAnnounceNothing(t *testing.T) {
	s, err := newStarter(discovery.Country{Stack: "test", Country: "us", TimeZone: "America/New_York", Parallel: 3}, aws.Config{Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	p := s.Promoter
	if p.Zone.String() != "America/New_York" || p.Parallel != 3 || p.Topics != nil { // the topic of jobs would wake it again
		t.Errorf("zone %s, %d jobs, topics %v", p.Zone, p.Parallel, p.Topics)
	}
}

func TestErrorIsReturnedSoThatItIsTriedAgain(t *testing.T) {
	w := &worker{err: errors.New("throttled")}
	if err := (&handler{w}).Handle(t.Context(), nil); !errors.Is(err, w.err) {
		t.Errorf("got %v", err)
	}
}
