package discovery

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestSettingsAreReadBackAsRendered(t *testing.T) {
	want := Country{Stack: "prod", Country: "us", TimeZone: "America/New_York", Parallel: 5, Tables: Tables{Jobs: "jobs"}, Google: Google{LoadBucket: "loads"}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(EnvVar, string(text))
	if got, err := FromEnv(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSettingsThatCannotBeUsedAreRefused(t *testing.T) {
	t.Setenv(EnvVar, "")
	if _, err := FromEnv(); err == nil || err.Error() != "discovery: environment variable SETTINGS is empty; deploy the function with its stack" {
		t.Errorf("none: got %v", err)
	}
	if _, err := Parse([]byte(`{"contry":"us"}`)); err == nil || err.Error() != `discovery: json: unknown field "contry"` {
		t.Errorf("unknown field: got %v", err)
	}
	if _, err := (Country{Country: "us", TimeZone: "America/Nowhere"}).Location(); err == nil || err.Error() != `discovery: country "us": unknown time zone America/Nowhere` {
		t.Errorf("unknown zone: got %v", err)
	}
}

func TestZoneIsUTCUnlessNamed(t *testing.T) {
	if zone, err := (Country{}).Location(); err != nil || zone.String() != "UTC" {
		t.Errorf("got %v, %v", zone, err)
	}
}
