package compute

import (
	"strings"
	"testing"
)

func TestParameterIsNamedByStackCountryAndPart(t *testing.T) {
	if got := ParameterName("prod", "us", NAT); got != "/sluice/prod/compute/us/nat" {
		t.Error(got)
	}
}

func TestPartIsOnUnlessItsParameterSaysOff(t *testing.T) {
	s, err := Read([]string{"/sluice/prod/compute/us/serverless", "/sluice/prod/compute/us/glue", "/sluice/prod/compute/us/retired"}, []string{"off", "on", "off"})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]bool{EMR: true, Standing: true, Serverless: false, Glue: true, NAT: true, Endpoints: true} {
		if s.On(part) != want {
			t.Errorf("%s on: %v, want %v", part, s.On(part), want)
		}
	}
	if !(Switches{}).On(EMR) {
		t.Error("without parameters everything is on")
	}
}

func TestPartIsOffWithAnyPartThatItNeeds(t *testing.T) {
	for off, want := range map[string]string{EMR: EMR, NAT: NAT, Endpoints: Endpoints, Glue: "", Serverless: ""} {
		s, err := Read([]string{ParameterName("prod", "us", off)}, []string{Off})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Blocker(Standing); got != want {
			t.Errorf("with %s off the standing cluster is kept off by %q, want %q", off, got, want)
		}
		if s.On(Standing) != (want == "") {
			t.Errorf("with %s off the standing cluster is on: %v", off, s.On(Standing))
		}
	}
}

func TestParameterThatSaysNeitherOnNorOffIsAnError(t *testing.T) {
	_, err := Read([]string{"/sluice/prod/compute/us/nat"}, []string{"of"})
	if err == nil || err.Error() != `parameter /sluice/prod/compute/us/nat is "of"; it can be "on" or "off"` {
		t.Error(err)
	}
}

func TestEveryPartSaysWhatItCostsAndWhatGoes(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Parts {
		if seen[p.Name] || p.Cost != Hourly && p.Cost != PerUse || !strings.HasSuffix(p.About, ".") {
			t.Errorf("%+v", p)
		}
		seen[p.Name] = true
		for _, needed := range p.Needs {
			if _, ok := Find(needed); !ok {
				t.Errorf("%s needs %s, which is no part", p.Name, needed)
			}
		}
	}
}
