package main

import (
	"strings"
	"testing"
)

func TestAccessNamesTheStatementThatAllows(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{"access analysts --country us", exitDone, []string{
			"us       curated  *          list   yes      ListCurated1",
			"us       curated  *          read   yes      ReadCurated1",
			"us       curated  *          query  yes      QueryCurated1",
			"us       landing  flights/*  read   yes      ReadLanding2",
		}},
		{"access analysts flights/2013-01-01/a.csv --country us --stage landing", exitDone, []string{"list    no", "read    yes      ReadLanding2", "write   no", "delete  no"}},
		{"access analysts s3://landing-pr/flights/2013-01-01/a.csv --verb read", exitDone, []string{"pr       landing  flights/2013-01-01/a.csv  read  yes      ReadLanding2"}},
		{"access analysts s3://landing-us/flights2/a.csv --verb read", exitRefused, []string{"flights2/a.csv  read  no"}},
		{"access analysts Flights/a.csv --country us --stage landing --verb read --json", exitRefused, []string{`"allowed": false`, `"statement": ""`, `"role": "arn:aws:iam::000000000000:role/sluice-local-access-analysts"`}},
		{"access operator s3://landing-us/flights/a.csv --verb read", exitRefused, []string{"flights/a.csv  read  no"}},
		{"access operator", exitDone, []string{"state, logs and metrics of every country, and data of none"}},
		{"access eve", exitUsage, []string{`nobody named "eve" in the access table; it has analysts, operator, trainspotters`}},
		{"access trainspotters", exitDone, []string{"nothing"}}, // no country has their feed
		{"access trainspotters trains/a.csv --country us --stage curated --json", exitDone, []string{`"role": ""`, `"allowed": false`}},
		{"access operator s3://landing-us/a.csv --json", exitDone, []string{`"role": "arn:aws:iam::000000000000:role/sluice-local-operator"`}},
		{"access analysts s3://elsewhere/a.csv", exitUsage, []string{"elsewhere is no bucket of a stage here"}},
		{"access analysts a --verb own", exitUsage, []string{`no verb "own"`}},
	} {
		code, out, errOut := newStage().run(t, strings.Fields(c.args)...)
		if code != c.code {
			t.Errorf("%s: exit %d, want %d: %s", c.args, code, c.code, errOut)
		}
		for _, want := range c.want {
			if !strings.Contains(out+errOut, want) {
				t.Errorf("%s: no %q in\n%s%s", c.args, want, out, errOut)
			}
		}
	}
}
