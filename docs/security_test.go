// Package docs_test holds the tables of controls to what they name.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is a line of a table: its first cell, and the others by the word that heads them.
type row struct {
	name  string
	cells map[string]string
}

// rows are the lines of a page's tables whose first column has this head.
func rows(t *testing.T, page, first string) []row {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var head []string
	var found []row
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "|") {
			head = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == first:
			head = cells
		case head != nil && !strings.HasPrefix(cells[0], "---"):
			c := row{cells[0], map[string]string{}}
			for i, word := range head {
				word, _, _ = strings.Cut(word, ":")
				c.cells[word] = cells[i]
			}
			found = append(found, c)
		}
	}
	if len(found) < 10 {
		t.Fatalf("%s has %d lines below %q: its tables are not read", page, len(found), first)
	}
	return found
}

var inCode = regexp.MustCompile("`([^`]+)`")

// names are what stands in code style in a cell.
func names(cell string) []string {
	var list []string
	for _, match := range inCode.FindAllStringSubmatch(cell, -1) {
		list = append(list, match[1])
	}
	return list
}

// declared are the tests of the repository, of Go and of Python, by name.
func declared(t *testing.T) map[string]bool {
	t.Helper()
	function, found := regexp.MustCompile(`(?m)^(?:func|def) (\w+)\(`), map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "node_modules" || name == "bin" || len(name) > 2 && name[0] == '.'):
			return filepath.SkipDir
		case !entry.IsDir() && (strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "test_") && strings.HasSuffix(name, ".py")):
			text, err := os.ReadFile(path)
			for _, match := range function.FindAllStringSubmatch(string(text), -1) {
				found[match[1]] = true
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// broken are the controls that somebody breaks, to see a judge notice: "judge: check".
func broken(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, breaker := range []struct{ file, judge, pattern string }{
		{"../tools/scan/mutants.py", "", `"(checkov|parliament|gosec|gitleaks|actionlint)",\s*"([\w-]+)"`},
		{"../stacks/decisions_test.go", "iam-simulate", `(?m)^\t\t\{()"(a[a-z]* [^"]+)", "`},
	} {
		text, err := os.ReadFile(breaker.file)
		if err != nil {
			t.Fatal(err)
		}
		matches := regexp.MustCompile(breaker.pattern).FindAllStringSubmatch(string(text), -1)
		if len(matches) < 5 {
			t.Fatalf("%s breaks %d controls: it is not read", breaker.file, len(matches))
		}
		for _, match := range matches {
			list = append(list, breaker.judge+match[1]+": "+match[2])
		}
	}
	return list
}

func TestEachControlNamesAFileATestAndAJudgeThatAreThere(t *testing.T) {
	tests, seen, named := declared(t), broken(t), map[string]bool{}
	for _, page := range []string{"security.md", "../README.md"} {
		for _, c := range rows(t, page, "control") {
			for _, file := range names(c.cells["set in"]) {
				if _, err := os.Stat(filepath.Join("..", file)); err != nil {
					t.Errorf("%s, %q: there is no file %s", page, c.name, file)
				}
			}
			for _, test := range names(c.cells["test"]) {
				if !tests[test] {
					t.Errorf("%s, %q: there is no test %s", page, c.name, test)
				}
			}
			if c.cells["test"] == "" && c.cells["judge"] == "" {
				t.Errorf("%s, %q: neither a test nor a judge", page, c.name)
			}
			judge, checks, _ := strings.Cut(c.cells["judge"], ": ")
			for _, check := range strings.Split(checks, ", ") {
				if judge == "" {
					continue
				}
				if named[judge+": "+check] = true; !slices.Contains(seen, judge+": "+check) {
					t.Errorf("%s, %q: nobody breaks the control to see %s notice by %q", page, c.name, judge, check)
				}
			}
		}
	}
	for _, one := range seen {
		if !named[one] {
			t.Errorf("%s notices a broken control that is not in security.md", one)
		}
	}
}
