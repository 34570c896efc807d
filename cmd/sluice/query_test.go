package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
)

func row(cells ...any) types.Row {
	var r types.Row
	for _, c := range cells {
		if c == nil {
			r.Data = append(r.Data, types.Datum{})
		} else {
			r.Data = append(r.Data, types.Datum{VarCharValue: aws.String(c.(string))})
		}
	}
	return r
}

func column(name, kind string) types.ColumnInfo {
	return types.ColumnInfo{Name: aws.String(name), Type: aws.String(kind)}
}

// stagedQuery answers with two pages, of which the first begins with the headings, as Athena does for a select.
func stagedQuery() *stage {
	s := newStage()
	s.athena = &fakeAthena{
		states:  []types.QueryExecutionState{types.QueryExecutionStateRunning, types.QueryExecutionStateSucceeded},
		kind:    types.StatementTypeDml,
		columns: []types.ColumnInfo{column("carrier", "varchar"), column("flights", "bigint"), column("late", "boolean"), column("mean", "double")},
		pages: [][]types.Row{
			{row("carrier", "flights", "late", "mean"), row("UA", "165", "true", "3.5")},
			{row("B6, \"Blue\"", "163", nil, "NaN")},
		},
	}
	return s
}

func TestQueryPrintsRowsInEachForm(t *testing.T) {
	for name, flag := range map[string]string{"query.txt": "", "query.json": "--json", "query.csv": "--csv"} {
		args := []string{"query", "select 1", "--country", "us"}
		if flag != "" {
			args = append(args, flag)
		}
		code, out, errOut := stagedQuery().run(t, args...)
		if code != exitDone {
			t.Fatalf("exit %d: %s", code, errOut)
		}
		golden(t, name, out)
	}
}

func TestQueryRunsInTheCountrysWorkgroupAndStage(t *testing.T) {
	s := stagedQuery()
	s.run(t, "query", "select 1", "--country", "us", "--stage", "curated")
	if got := *s.athena.asked.WorkGroup; got != "group-us" {
		t.Errorf("workgroup %q", got)
	}
	if got := *s.athena.asked.QueryExecutionContext.Database; got != "sluice_local_us_curated" {
		t.Errorf("database %q", got)
	}
	s = stagedQuery()
	s.run(t, "query", "select 1")
	if group, database := *s.athena.asked.WorkGroup, *s.athena.asked.QueryExecutionContext.Database; group != "group-pr" || database != "default" {
		t.Errorf("without a country: workgroup %q, database %q; want the first country's, and Athena's default", group, database)
	}
}

func TestQueryOfSomebodyOfTheAccessTableRunsInTheirOwnWorkgroup(t *testing.T) {
	for caller, want := range map[string]string{
		"arn:aws:sts::000000000000:assumed-role/sluice-local-access-analysts/ana": "sluice_local_us_analysts",
		"arn:aws:sts::000000000000:assumed-role/sluice-prod-access-analysts/ana":  "group-us", // another stack's
		"arn:aws:sts::000000000000:assumed-role/admin/ana":                        "group-us",
	} {
		s := stagedQuery()
		s.desk.who = caller
		s.run(t, "query", "select 1", "--country", "us")
		if got := *s.athena.asked.WorkGroup; got != want {
			t.Errorf("%s: workgroup %q, want %q", caller, got, want)
		}
	}
}

func TestShowStatementHasNoHeadingRow(t *testing.T) {
	s := newStage()
	s.athena = &fakeAthena{
		states:  []types.QueryExecutionState{types.QueryExecutionStateSucceeded},
		kind:    types.StatementTypeDdl,
		columns: []types.ColumnInfo{column("tab_name", "string")},
		pages:   [][]types.Row{{row("flights")}},
	}
	if _, out, _ := s.run(t, "query", "show tables", "--csv"); out != "tab_name\nflights\n" {
		t.Errorf("printed %q", out)
	}
}

func TestFailedQueryTellsAthenasReason(t *testing.T) {
	s := newStage()
	s.athena = &fakeAthena{states: []types.QueryExecutionState{types.QueryExecutionStateFailed}, reason: "TABLE_NOT_FOUND: line 1:15"}
	code, _, errOut := s.run(t, "query", "select 1")
	if want := "sluice: query q-1: failed: TABLE_NOT_FOUND: line 1:15\n"; code != exitError || errOut != want {
		t.Errorf("exit %d, %q; want %d and %q", code, errOut, exitError, want)
	}
}

func TestInterruptedQueryIsStopped(t *testing.T) {
	s := newStage()
	s.athena = &fakeAthena{states: []types.QueryExecutionState{types.QueryExecutionStateRunning}}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	code, _, _ := s.runContext(ctx, "query", "select 1")
	if code != exitError || s.athena.stopped != "q-1" {
		t.Errorf("exit %d, stopped %q; want %d and q-1", code, s.athena.stopped, exitError)
	}
}

func TestWrongQueryExitsWith2(t *testing.T) {
	for message, args := range map[string][]string{
		"no stage \"raw\"":                     {"query", "select 1", "--country", "us", "--stage", "raw"},
		"--stage needs --country":              {"query", "select 1", "--stage", "curated"},
		"if any flags in the group [json csv]": {"query", "select 1", "--json", "--csv"},
	} {
		code, _, errOut := stagedQuery().run(t, args...)
		if code != exitUsage || !strings.Contains(errOut, message) {
			t.Errorf("%q: exit %d, %q; want %d and %q", args, code, errOut, exitUsage, message)
		}
	}
}
