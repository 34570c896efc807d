package discovery

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// filled is a document in which every text is there.
func filled() Country {
	c := Country{Version: Version}
	fill(reflect.ValueOf(&c).Elem())
	c.Stack, c.Country, c.TimeZone, c.Parallel = "prod", "us", "America/New_York", 5
	return c
}

func fill(v reflect.Value) {
	for i := range v.NumField() {
		switch field := v.Field(i); field.Kind() {
		case reflect.String:
			field.SetString("x")
		case reflect.Struct:
			fill(field)
		}
	}
}

// document is filled with one field set to something else; nil takes it out.
func document(t *testing.T, path string, value any) string {
	t.Helper()
	text, err := json.Marshal(filled())
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	at := fields
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		at = at[name].(map[string]any)
	}
	if at[names[len(names)-1]] = value; value == nil {
		delete(at, names[len(names)-1])
	}
	if text, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDocumentIsReadBackAsRendered(t *testing.T) {
	want := filled()
	unversioned := want
	unversioned.Version = 0
	text, err := unversioned.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse("prod", "us", []byte(text)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDocumentThatCannotBeUsedIsRefusedWithTheWayOut(t *testing.T) {
	for text, want := range map[string]string{
		document(t, "version", Version+1): `its document has version 2, and this program reads version 1: update the program (make commands in a newer checkout)`,
		// An older one is told by its version, whatever else is in it.
		`{"version":0,"settings":{}}`:                  `its document has version 0, and this program reads version 1: deploy the stack again with this checkout (make up)`,
		document(t, "version", nil):                    `its document says no version; deploy the stack again`,
		document(t, "version", "one"):                  `its document says no version; deploy the stack again`,
		document(t, "contry", "us"):                    `its document cannot be read (json: unknown field "contry"); deploy the stack again`,
		document(t, "buckets.extra", "b"):              `its document cannot be read (json: unknown field "extra"); deploy the stack again`,
		document(t, "parallel", "five"):                `its document cannot be read (json: cannot unmarshal string into Go struct field Country.parallel of type int); deploy the stack again`,
		document(t, "buckets.landing", ""):             `its document says nothing of buckets.landing; deploy the stack again`,
		document(t, "compute.serverless.roleArn", nil): `its document says nothing of compute.serverless.roleArn; deploy the stack again`,
		document(t, "country", "uy"):                   `its document is the one of country "uy" in stack "prod"; deploy the stack again`,
		document(t, "stack", "dev"):                    `its document is the one of country "us" in stack "dev"; deploy the stack again`,
		`on`:                                           `its document is no JSON object (invalid character 'o' looking for beginning of value); deploy the stack again`,
		``:                                             `its document is no JSON object (unexpected end of JSON input); deploy the stack again`,
		`["us"]`:                                       `its document is no JSON object (json: cannot unmarshal array into Go value of type map[string]interface {}); deploy the stack again`,
	} {
		if _, err := Parse("prod", "us", []byte(text)); err == nil || err.Error() != `discovery: country "us" in stack "prod": `+want {
			t.Errorf("%s:\ngot  %v\nwant %s", text, err, want)
		}
	}
	var other VersionError
	if _, err := Parse("prod", "us", []byte(document(t, "version", 7))); !errors.As(err, &other) || other.Found != 7 {
		t.Errorf("another version: %v", err)
	}
}

func TestDocumentThatAParameterDoesNotHoldIsRefused(t *testing.T) {
	c := filled()
	text, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	c.Workgroup += strings.Repeat("w", MaxBytes-len(text))
	if text, err = c.JSON(); err != nil || len(text) != MaxBytes {
		t.Errorf("%d bytes: %v", len(text), err)
	}
	c.Workgroup += "w"
	if _, err := c.JSON(); err == nil || !strings.HasPrefix(err.Error(), `discovery: country "us": the document has 4097 bytes, and a parameter of AWS Systems Manager holds 4096: shorten`) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestDocumentsAreWhereTheSwitchIsNot(t *testing.T) {
	if got := ParameterName("prod", "us"); got != "/sluice/prod/countries/us" {
		t.Errorf("name %s", got)
	}
}

func TestZoneIsUTCUnlessNamed(t *testing.T) {
	if zone, err := (Country{}).Location(); err != nil || zone.String() != "UTC" {
		t.Errorf("got %v, %v", zone, err)
	}
	if _, err := (Country{Country: "us", TimeZone: "America/Nowhere"}).Location(); err == nil || err.Error() != `discovery: country "us": unknown time zone America/Nowhere` {
		t.Errorf("unknown zone: got %v", err)
	}
}
