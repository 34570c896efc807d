package parameters

import (
	"maps"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/sluice-data/sluice/internal/compute"
	"github.com/sluice-data/sluice/internal/emulator"
)

var cfg aws.Config

func TestMain(m *testing.M) {
	os.Exit(emulator.Main(m, func(c aws.Config) { cfg = c }))
}

func TestEverythingIsOnBeforeAnythingWasSwitched(t *testing.T) {
	off, err := New(ssm.NewFromConfig(cfg), "fresh", "us").Off(t.Context())
	if err != nil || len(off) != 0 {
		t.Errorf("%v, %v", off, err)
	}
}

func TestSwitchOfACountryIsReadBackAndIsNoOthers(t *testing.T) {
	client := ssm.NewFromConfig(cfg)
	us, uy := New(client, "test", "us"), New(client, "test", "uy")
	for _, part := range compute.Parts {
		if err := us.Write(t.Context(), part.Name, part.Name != compute.NAT && part.Name != compute.Glue); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"emr":  "nat is switched off: sluice compute on --part nat --country us --stack test",
		"glue": "glue is switched off: sluice compute on --part glue --country us --stack test",
	}
	if off, err := us.Off(t.Context()); err != nil || !maps.Equal(off, want) {
		t.Errorf("%v, %v", off, err)
	}
	if off, err := uy.Off(t.Context()); err != nil || len(off) != 0 {
		t.Errorf("the other country: %v, %v", off, err)
	}
	for _, part := range []string{compute.NAT, compute.Glue} {
		if err := us.Write(t.Context(), part, true); err != nil {
			t.Fatal(err)
		}
	}
	if off, err := us.Off(t.Context()); err != nil || len(off) != 0 {
		t.Errorf("after on: %v, %v", off, err)
	}
}
