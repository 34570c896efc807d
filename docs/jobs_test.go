package docs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEachFaultNamesTestsThatAreThere reads the table of faults: tests stand in code style, of internal/driver or of the folder before them, and
// parts of the deployment test by their promises.
func TestEachFaultNamesTestsThatAreThere(t *testing.T) {
	sources := map[string]string{}
	source := func(folder string) string {
		if _, read := sources[folder]; !read {
			for _, pattern := range []string{"*_test.go", "tests/test_*.py"} {
				files, err := filepath.Glob(filepath.Join("..", folder, pattern))
				if err != nil {
					t.Fatal(err)
				}
				for _, file := range files {
					text, err := os.ReadFile(file)
					if err != nil {
						t.Fatal(err)
					}
					sources[folder] += string(text)
				}
			}
		}
		return sources[folder]
	}
	var last []string
	for _, fault := range rows(t, "jobs.md", "fault") {
		var tests []string
		for _, group := range strings.Split(fault.cells["test"], "; ") {
			folder := "internal/driver"
			if before, after, named := strings.Cut(group, "`: "); named {
				folder, group = strings.TrimPrefix(before, "`"), after
			}
			for _, test := range names(group) {
				tests = append(tests, test)
				text := source(folder)
				if !strings.Contains(text, "func "+test+"(t *testing.T)") && !strings.Contains(text, "\ndef "+test+"(") && !strings.Contains(text, `{"`+test+`", func(t *testing.T)`) {
					t.Errorf("%q: %s has no test %s", fault.name, folder, test)
				}
			}
		}
		if fault.cells["test"] == "the same" {
			tests = last
		}
		if last = tests; len(tests) == 0 {
			t.Errorf("%q: no test plays it", fault.name)
		}
	}
}
