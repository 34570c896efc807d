package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	jobs "github.com/sluice-data/sluice/internal/job"
)

func TestComputeShowsEveryPartItsStateAndItsCost(t *testing.T) {
	for name, args := range map[string][]string{
		"compute.txt":       {"compute"},
		"compute.json":      {"compute", "--json"},
		"compute-part.json": {"compute", "status", "--part", "standing", "--country", "us", "--json"},
	} {
		s := newStage()
		s.usSwitch.off = []string{"/sluice/local/compute/us/nat", "/sluice/local/compute/us/glue"}
		code, out, errOut := s.run(t, args...)
		if code != exitDone || errOut != "" {
			t.Fatalf("exit %d: %s", code, errOut)
		}
		golden(t, name, out)
	}
}

func TestComputeOffRefusesWhileJobsRunAndChangesNothing(t *testing.T) {
	s := stagedJobs()
	code, _, errOut := s.run(t, "compute", "off")
	want := "sluice: refused: jobs run on what would go; nothing was switched. Wait for them, or add --wait:\n  pr flights 2013-01-01, on emr\n"
	if code != exitRefused || errOut != want {
		t.Errorf("exit %d, %q", code, errOut)
	}
	if len(s.usSwitch.log)+len(s.prSwitch.log) != 0 {
		t.Errorf("wrote %v %v", s.usSwitch.log, s.prSwitch.log)
	}
}

func TestJobThatStartsWhileItSwitchesIsSeenAndTheSwitchTakenBack(t *testing.T) {
	s := newStage()
	s.usSwitch.off = []string{"/sluice/local/compute/us/nat"}
	s.usSwitch.written = func() {
		s.us.jobs = []job{{Country: "us", Feed: "planes", Day: "2013-01-01", State: "running", Engine: "glue"}}
	}
	code, out, errOut := s.run(t, "compute", "off", "--country", "us")
	want := "sluice: refused: jobs run on what would go; nothing was switched. Wait for them, or add --wait:\n  us planes 2013-01-01, on glue\n"
	if code != exitRefused || errOut != want || out != "" {
		t.Errorf("exit %d, %q, %q", code, errOut, out)
	}
	if want := []string{"emr false", "standing false", "serverless false", "glue false", "nat false", "endpoints false",
		"emr true", "standing true", "keep the standing cluster", "serverless true", "glue true", "endpoints true"}; !slices.Equal(s.usSwitch.log, want) {
		t.Errorf("it did %q; what was off before is not switched on", s.usSwitch.log)
	}
}

func TestSwitchThatCannotBeTakenBackIsNoRefusal(t *testing.T) {
	s := newStage()
	s.usSwitch.written = func() {
		s.us.jobs = []job{{Country: "us", Feed: "planes", Day: "2013-01-01", State: "running", Engine: "glue"}}
		s.usSwitch.err = errors.New("access denied")
	}
	code, _, errOut := s.run(t, "compute", "off", "--country", "us", "--part", "glue")
	if code != exitError || !strings.HasSuffix(errOut, "what was switched off stays off: country \"us\": access denied\n") {
		t.Errorf("exit %d, %q", code, errOut)
	}
}

func TestStandingClusterAloneIsClosedToRunsAndWaitsForItsOwn(t *testing.T) {
	s := stagedJobs() // pr runs a job on a cluster that jobs started
	code, _, errOut := s.run(t, "compute", "off", "--part", "standing")
	if want := []string{"standing false", "close the standing cluster"}; code != exitDone || !slices.Equal(s.prSwitch.log, want) {
		t.Errorf("exit %d: %s; it did %q", code, errOut, s.prSwitch.log)
	}
	s = stagedJobs()
	s.prSwitch.standing = []jobs.ID{{Feed: "flights", Day: "2013-01-01"}}
	if code, _, errOut := s.run(t, "compute", "off", "--part", "standing"); code != exitRefused || len(s.prSwitch.log) != 0 {
		t.Errorf("exit %d: %s; it did %q", code, errOut, s.prSwitch.log)
	}
}

func TestComputeOffOfWhatNoJobRunsOnNeedNotWait(t *testing.T) {
	for name, args := range map[string][]string{
		"another engine":  {"--part", "glue"},
		"another country": {"--country", "us"},
	} {
		s := stagedJobs()
		if code, _, errOut := s.run(t, append([]string{"compute", "off"}, args...)...); code != exitDone {
			t.Errorf("%s: exit %d: %s", name, code, errOut)
		}
	}
}

func TestComputeOffSwitchesFirstThenWaitsThenEndsIdleClusters(t *testing.T) {
	runningPoll = time.Millisecond
	defer func() { runningPoll = 5 * time.Second }()
	s := stagedJobs()
	s.pr.closeAfter = 3
	code, out, errOut := s.run(t, "compute", "off", "--part", "emr", "--wait")
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	if want := []string{"emr false", "end idle clusters"}; !slices.Equal(s.usSwitch.log, want) || !slices.Equal(s.prSwitch.log, want) {
		t.Errorf("us %q, pr %q", s.usSwitch.log, s.prSwitch.log)
	}
	if s.pr.readings <= 3 {
		t.Error("it did not wait for the job")
	}
	if want := "waiting for 1 running:\n  pr flights 2013-01-01, on emr\n"; errOut != want {
		t.Errorf("progress %q", errOut)
	}
	want := "pr: emr off\nus: emr off\npr: cluster j-1 has nothing to do and ends\nus: cluster j-1 has nothing to do and ends\n" +
		"recorded; the next deployment will leave out what was switched: ./bin/pulumi up --stack local\n"
	if out != want {
		t.Errorf("%q", out)
	}
}

func TestComputeOffStopsTheApplicationAndNoClusterOfAnEngineThatStaysOn(t *testing.T) {
	s := newStage()
	code, out, errOut := s.run(t, "compute", "off", "--part", "serverless", "--country", "us")
	if want := []string{"serverless false", "stop the application"}; code != exitDone || !slices.Equal(s.usSwitch.log, want) {
		t.Errorf("exit %d: %s; it did %q", code, errOut, s.usSwitch.log)
	}
	want := "us: serverless off\nus: the EMR Serverless application is stopped\nrecorded; the next deployment will leave out what was switched: ./bin/pulumi up --stack local\n"
	if out != want {
		t.Errorf("%q", out)
	}
}

func TestComputeOnWritesEveryPart(t *testing.T) {
	s := newStage()
	code, _, errOut := s.run(t, "compute", "on", "--country", "us")
	want := []string{"emr true", "standing true", "keep the standing cluster", "serverless true", "glue true", "nat true", "endpoints true"}
	if code != exitDone || !slices.Equal(s.usSwitch.log, want) || len(s.prSwitch.log) != 0 {
		t.Errorf("exit %d: %s; us %q, pr %q", code, errOut, s.usSwitch.log, s.prSwitch.log)
	}
}

func TestCountryThatCannotBeSwitchedIsNamedAndKeepsNoOtherBack(t *testing.T) {
	s := newStage()
	s.prSwitch.err = errors.New("access denied")
	code, _, errOut := s.run(t, "compute", "on", "--part", "nat")
	if code != exitError || errOut != "sluice: country \"pr\": access denied\n" || !slices.Equal(s.usSwitch.log, []string{"nat true"}) {
		t.Errorf("exit %d, %q; us %q", code, errOut, s.usSwitch.log)
	}
}

func TestUnknownPartIsWrongUsage(t *testing.T) {
	code, _, errOut := newStage().run(t, "compute", "off", "--part", "mainframe")
	if code != exitUsage || !strings.Contains(errOut, `no part "mainframe"; there are emr, standing, serverless, glue, nat, endpoints`) {
		t.Errorf("exit %d, %q", code, errOut)
	}
}
