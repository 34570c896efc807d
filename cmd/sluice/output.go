package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// printJSON writes one indented JSON value.
func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// tableOutput is a table for people. Columns whose heading was given to numbers() are aligned to the right.
type tableOutput struct {
	w       table.Writer
	heading []string
}

func newTable(heading ...string) *tableOutput {
	w := table.NewWriter()
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = text.FormatDefault
	w.SetStyle(style)
	w.SuppressTrailingSpaces()
	row := table.Row{}
	for _, h := range heading {
		row = append(row, h)
	}
	w.AppendHeader(row)
	return &tableOutput{w: w, heading: heading}
}

func (t *tableOutput) numbers(headings ...string) {
	var columns []table.ColumnConfig
	for _, h := range headings {
		columns = append(columns, table.ColumnConfig{Number: slices.Index(t.heading, h) + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.w.SetColumnConfigs(columns)
}

func (t *tableOutput) add(cells ...any) { t.w.AppendRow(cells) }

func (t *tableOutput) print(w io.Writer) { fprintln(w, t.w.Render()) }

// sortedKeys returns the keys of two maps, each once, in order.
func sortedKeys[A, B any](a map[string]A, b map[string]B) []string {
	keys := slices.Concat(slices.Collect(maps.Keys(a)), slices.Collect(maps.Keys(b)))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// isTerminal tells whether a person watches the output as it is written.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// bar shows progress: it moves on a terminal, and is silent elsewhere, where a log would only fill with its pictures.
type bar struct{ b *progressbar.ProgressBar }

func newBar(w io.Writer, total int64, label string, options ...progressbar.Option) bar {
	if !isTerminal(w) {
		return bar{}
	}
	options = append([]progressbar.Option{
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(label), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(65 * time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true),
	}, options...)
	return bar{progressbar.NewOptions64(total, options...)}
}

// newSpinner is a bar for work whose amount is not known.
func newSpinner(w io.Writer, label string) bar {
	return newBar(w, -1, label, progressbar.OptionSpinnerType(14), progressbar.OptionSetElapsedTime(true))
}

// The errors of a progress bar are those of the terminal it draws on: there is nobody left to tell.

func (b bar) turn() { b.add(1) }

func (b bar) add(n int) {
	if b.b != nil {
		_ = b.b.Add(n)
	}
}

func (b bar) set(n int, label string) {
	if b.b != nil {
		b.b.Describe(label)
		_ = b.b.Set(n)
	}
}

func (b bar) end() {
	if b.b != nil {
		_ = b.b.Finish()
	}
}

// newBytesBar is a bar for a transfer.
func newBytesBar(w io.Writer, bytes int64, label string) bar {
	return newBar(w, bytes, label, progressbar.OptionShowBytes(true), progressbar.OptionShowCount())
}
