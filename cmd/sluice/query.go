package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/athena"
	"github.com/aws/aws-sdk-go-v2/service/athena/types"
	"github.com/spf13/cobra"

	"github.com/sluice-data/sluice/internal/access"
	"github.com/sluice-data/sluice/internal/discovery"
)

// queryPoll is how often a running query is asked for its state.
const queryPoll = 250 * time.Millisecond

func newQueryCommand(a *app) *cobra.Command {
	var countryCode, stage string
	var asJSON, asCSV bool
	cmd := &cobra.Command{
		Use:   "query SQL",
		Short: "Ask the data a question with SQL, through Athena",
		Long: `Runs the SQL in the Athena workgroup of a country (--country, or the first one), your own where you took a role of the access table, and
prints the rows. The tables of a stage are in the database sluice_<stack>_<country>_<stage>, so that one question may span stages and countries. With --stage, tables of that
stage need no database in front. The query always names its database: the stage's, or Athena's own "default".

Stages: landing, validated, invalid, versioned, curated.`,
		Example: `  sluice query "select count(*) from flights" --country us --stage validated
  sluice query "select _rule, count(*) n from flights group by _rule order by n desc" --country us --stage invalid
  sluice query "select count(*) from sluice_local_us_curated.flights" --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.running(func(ctx context.Context, args []string) error {
			places, err := a.places(ctx, countryCode)
			if err != nil {
				return err
			}
			p := places[0]
			if stage != "" && countryCode == "" && len(places) > 1 {
				return usagef("--stage needs --country: each country has a database of its own for it")
			}
			database, err := p.database(stage)
			if err != nil {
				return err
			}
			result, err := p.query(ctx, args[0], database)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				return printJSON(a.out, result)
			case asCSV:
				w := csv.NewWriter(a.out)
				if err := w.WriteAll(append([][]string{result.names()}, result.texts("")...)); err != nil {
					return fmt.Errorf("output: %w", err)
				}
			default:
				result.print(a)
			}
			return nil
		}),
	}
	cmd.Flags().StringVar(&countryCode, "country", "", "country whose workgroup runs the query")
	cmd.Flags().StringVar(&stage, "stage", "", "stage whose tables need no database in front")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of objects")
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print CSV with a heading line")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// defaultDatabase is where Athena looks for tables that come without a database when a query names none. Nothing of a stack is in it.
const defaultDatabase = "default"

// database is the Glue database of a stage; Athena's default one without a stage.
func (p place) database(stage string) (string, error) {
	switch stage {
	case "":
		return defaultDatabase, nil
	case "landing":
		return p.Databases.Landing, nil
	case "validated":
		return p.Databases.Validated, nil
	case "invalid":
		return p.Databases.Invalid, nil
	case "versioned":
		return p.Databases.Versioned, nil
	case "curated":
		return p.Databases.Curated, nil
	}
	return "", usagef("no stage %q; there are landing, validated, invalid, versioned, curated", stage)
}

// result is the answer to a query. A cell is nil where the value is null.
type result struct {
	columns []types.ColumnInfo
	rows    [][]*string
}

// workgroup is the Athena workgroup that the caller asks in: their own where they took a role of the access table, which may ask in no
// other, and the country's for everybody else.
func (p place) workgroup(ctx context.Context) (string, error) {
	caller, err := p.desk.Who(ctx)
	if err != nil {
		return "", err
	}
	if who := access.PersonOf(p.Stack, caller); who != "" {
		return access.WorkgroupName(discovery.Catalog(p.Stack, p.code), who), nil
	}
	return p.Workgroup, nil
}

// query runs SQL in the caller's workgroup of the country and waits for the rows.
func (p place) query(ctx context.Context, sql, database string) (result, error) {
	group, err := p.workgroup(ctx)
	if err != nil {
		return result{}, fmt.Errorf("query: %w", err)
	}
	started, err := p.athena.StartQueryExecution(ctx, &athena.StartQueryExecutionInput{QueryString: aws.String(sql), WorkGroup: aws.String(group),
		QueryExecutionContext: &types.QueryExecutionContext{Database: aws.String(database)}})
	if err != nil {
		return result{}, fmt.Errorf("query: %w", err)
	}
	execution, err := p.finished(ctx, started.QueryExecutionId)
	if err != nil {
		return result{}, err
	}
	var r result
	pages := athena.NewGetQueryResultsPaginator(p.athena, &athena.GetQueryResultsInput{QueryExecutionId: started.QueryExecutionId})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return result{}, fmt.Errorf("query %s: %w", *started.QueryExecutionId, err)
		}
		if page.ResultSet == nil {
			continue
		}
		if page.ResultSet.ResultSetMetadata != nil {
			r.columns = page.ResultSet.ResultSetMetadata.ColumnInfo
		}
		for _, row := range page.ResultSet.Rows {
			cells := make([]*string, len(r.columns))
			for i, datum := range row.Data {
				if i < len(cells) {
					cells[i] = datum.VarCharValue
				}
			}
			r.rows = append(r.rows, cells)
		}
	}
	// Athena puts the headings into the first row of a select, and of nothing else.
	if execution.StatementType == types.StatementTypeDml && len(r.rows) > 0 {
		r.rows = r.rows[1:]
	}
	return r, nil
}

// finished waits until a query succeeded. When the command is interrupted, the query is stopped: it costs by what it scans.
func (p place) finished(ctx context.Context, id *string) (*types.QueryExecution, error) {
	tick := time.NewTicker(queryPoll)
	defer tick.Stop()
	for {
		out, err := p.athena.GetQueryExecution(ctx, &athena.GetQueryExecutionInput{QueryExecutionId: id})
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("query %s: %w", *id, err)
		}
		if err == nil {
			switch status := out.QueryExecution.Status; status.State {
			case types.QueryExecutionStateSucceeded:
				return out.QueryExecution, nil
			case types.QueryExecutionStateFailed, types.QueryExecutionStateCancelled:
				return nil, fmt.Errorf("query %s: %s: %s", *id, strings.ToLower(string(status.State)), aws.ToString(status.StateChangeReason))
			}
		}
		select {
		case <-ctx.Done():
			stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			_, err := p.athena.StopQueryExecution(stopCtx, &athena.StopQueryExecutionInput{QueryExecutionId: id})
			return nil, errors.Join(context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

func (r result) names() []string {
	var names []string
	for _, c := range r.columns {
		names = append(names, aws.ToString(c.Name))
	}
	return names
}

// texts returns the cells as text, null as the given word.
func (r result) texts(null string) [][]string {
	var rows [][]string
	for _, row := range r.rows {
		var cells []string
		for _, c := range row {
			if c == nil {
				cells = append(cells, null)
			} else {
				cells = append(cells, *c)
			}
		}
		rows = append(rows, cells)
	}
	return rows
}

func (r result) print(a *app) {
	t := newTable(r.names()...)
	var numbers []string
	for _, c := range r.columns {
		if isNumber(aws.ToString(c.Type)) {
			numbers = append(numbers, aws.ToString(c.Name))
		}
	}
	t.numbers(numbers...)
	for _, row := range r.texts("null") {
		cells := make([]any, len(row))
		for i, c := range row {
			cells[i] = c
		}
		t.add(cells...)
	}
	t.print(a.out)
	noun := "rows"
	if len(r.rows) == 1 {
		noun = "row"
	}
	fprintf(a.out, "(%d %s)\n", len(r.rows), noun)
}

func isNumber(athenaType string) bool {
	switch athenaType {
	case "tinyint", "smallint", "integer", "int", "bigint", "float", "real", "double", "decimal":
		return true
	}
	return false
}

// MarshalJSON writes an array of objects whose fields stand in the order of the columns; numbers and booleans keep their type.
func (r result) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('[')
	for i, row := range r.rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('{')
		for j, c := range r.columns {
			if j > 0 {
				b.WriteByte(',')
			}
			name, err := json.Marshal(aws.ToString(c.Name))
			if err != nil {
				return nil, err
			}
			value, err := json.Marshal(typed(row[j], aws.ToString(c.Type)))
			if err != nil {
				return nil, err
			}
			b.Write(name)
			b.WriteByte(':')
			b.Write(value)
		}
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return b.Bytes(), nil
}

// typed gives a cell, which Athena sends as text, the JSON type of its column. What JSON has no number for (NaN) stays text.
func typed(cell *string, athenaType string) any {
	if cell == nil {
		return nil
	}
	if isNumber(athenaType) && json.Valid([]byte(*cell)) {
		return json.Number(*cell)
	}
	if athenaType == "boolean" {
		if v, err := strconv.ParseBool(*cell); err == nil {
			return v
		}
	}
	return *cell
}
