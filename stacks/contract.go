package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/sluice-data/sluice/docs/schemas"
	"github.com/sluice-data/sluice/infra"
	"github.com/sluice-data/sluice/internal/job"
)

// Contract is a feed's contract, as far as the deployment reads it.
type Contract struct {
	Feed           string
	JSON           string // JSON is the whole contract, compiled for the jobs.
	Completeness   string
	ExpectedFiles  int
	WindowMinutes  int
	Attempts       int
	TimeoutMinutes int // TimeoutMinutes is how many minutes a run may take before people are told; 0: by the day's size.
	Prerequisites  []string
	ClientSide     bool           // ClientSide says that who puts a file encrypts it.
	Delimiter      string         // Delimiter stands between the fields of a file; a comma by default.
	Columns        []infra.Column // Columns are those of the feed's table at BigQuery.
	Key            []string       // Key is the columns that versions are kept by.
	References     []reference    // References are the columns whose values must be keys of another feed.
}

// reference is a column whose values must be keys of another feed that are valid on the same day.
type reference struct{ column, feed, key string }

// reserved are the columns that the versioned table adds.
var reserved = []string{"valid_from", "valid_to", "is_current"}

// property is a column of a contract.
type property struct {
	Name         string `json:"name"`
	LogicalType  string `json:"logicalType"`
	PhysicalType string `json:"physicalType"`
	Description  string `json:"description"`
	PrimaryKey   bool   `json:"primaryKey"`

	Relationships []struct {
		To any `json:"to"` // To is "<feed>.<column>"; the job refuses other forms.
	} `json:"relationships"`
}

// readContract reads the contract of a feed, with its SQL where the folder has some. What is wrong with it is added with the
// file's name as path; at is where the stack names the feed.
func readContract(wrong *faults, at, folder, feed string) *Contract {
	name := feed + ".yaml"
	text, err := os.ReadFile(filepath.Join(folder, name))
	if errors.Is(err, fs.ErrNotExist) {
		wrong.add(at, "feed %q has no contract; write contracts/%s or take one of %s", feed, name, strings.Join(contractNames(folder), ", "))
		return nil
	}
	if err != nil {
		wrong.add(at, "%v", err)
		return nil
	}
	file := "contracts/" + name
	before := len(wrong.list)
	document := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &document); err != nil {
		wrong.add(file, "%v", err)
		return nil
	}
	schema, err := schemas.Contract()
	if err != nil {
		wrong.add(file, "%v", err)
		return nil
	}
	if err := schema.Validate(document); err != nil {
		wrong.addSchema(file+" ", err)
		return nil
	}
	sql, err := os.ReadFile(filepath.Join(folder, feed+".sql"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		wrong.add(file, "%v", err)
		return nil
	}
	contract := newContract(wrong, file, feed, document, string(sql))
	if len(wrong.list) > before {
		return nil
	}
	return contract
}

// newContract takes from a contract that fits the schema what the deployment needs.
func newContract(wrong *faults, file, feed string, document map[string]any, sql string) *Contract {
	c := &Contract{Feed: feed}
	if sql != "" {
		document["sluice.curatedSql"] = sql
	}
	compiled, err := json.Marshal(document)
	if err != nil {
		wrong.add(file, "%v", err)
		return nil
	}
	c.JSON = string(compiled)
	var read struct {
		Name             string `json:"name"`
		CustomProperties []struct {
			Property string          `json:"property"`
			Value    json.RawMessage `json:"value"`
		} `json:"customProperties"`
		Schema []struct {
			Name       string     `json:"name"`
			Properties []property `json:"properties"`
		} `json:"schema"`
	}
	if err := json.Unmarshal(compiled, &read); err != nil {
		wrong.add(file, "%v", err)
		return nil
	}
	if read.Name != feed {
		wrong.add(file+" name", "%q: name it like the file, %s", read.Name, feed)
	}
	if read.Schema[0].Name != feed {
		wrong.add(file+" schema[0].name", "%q: name it like the feed, %s", read.Schema[0].Name, feed)
	}
	var curated []property
	for i, custom := range read.CustomProperties {
		target, known := map[string]any{
			"sluice.completeness": &c.Completeness, "sluice.expectedFiles": &c.ExpectedFiles, "sluice.windowMinutes": &c.WindowMinutes, "sluice.attempts": &c.Attempts,
			"sluice.timeoutMinutes": &c.TimeoutMinutes,
			"sluice.prerequisites":  &c.Prerequisites, "sluice.curatedColumns": &curated, "sluice.clientSide": &c.ClientSide, "sluice.delimiter": &c.Delimiter,
		}[custom.Property]
		if !known || custom.Value == nil {
			continue
		}
		if err := json.Unmarshal(custom.Value, target); err != nil {
			wrong.add(fmt.Sprintf("%s customProperties[%d]", file, i), "%v", err)
		}
	}
	if c.Delimiter == "" {
		c.Delimiter = ","
	}
	if c.Completeness == "" {
		wrong.add(file+" customProperties", "no sluice.completeness; say when a day is complete: marker, count or window")
	}
	columns, path := read.Schema[0].Properties, file+" schema[0].properties"
	checkReserved(wrong, path, columns)
	c.keys(columns)
	if sql != "" {
		if columns, path = curated, file+" sluice.curatedColumns"; len(curated) == 0 {
			wrong.add(path, "contracts/%s.sql selects the curated rows; say which columns they have", feed)
		}
	}
	for i, p := range columns {
		column, err := infra.BigQueryType(p.LogicalType, p.PhysicalType)
		if err != nil {
			wrong.add(fmt.Sprintf("%s[%d]", path, i), "%v", err)
			continue
		}
		column.Name, column.Description = p.Name, p.Description
		c.Columns = append(c.Columns, column)
	}
	return c
}

// keys takes from the columns what they are keys of.
func (c *Contract) keys(columns []property) {
	for _, p := range columns {
		if p.PrimaryKey {
			c.Key = append(c.Key, p.Name)
		}
		for _, r := range p.Relationships {
			to, _ := r.To.(string)
			if feed, key, ok := strings.Cut(to, "."); ok && feed != c.Feed {
				c.References = append(c.References, reference{p.Name, feed, key})
			}
		}
	}
}

// checkReferences refuses what a run would get wrong: a reference to a feed that may not have its day yet, or to what several records may have.
func (c *Contract) checkReferences(others map[string]*Contract) (faults []string) {
	for _, r := range c.References {
		at := fmt.Sprintf("feed %q: column %q refers to %s.%s", c.Feed, r.column, r.feed, r.key)
		if !slices.Contains(c.Prerequisites, r.feed) {
			faults = append(faults, fmt.Sprintf("%s: put %s into sluice.prerequisites, or records are judged by what it had on an earlier day", at, r.feed))
		} else if key := others[r.feed].Key; !slices.Equal(key, []string{r.key}) {
			faults = append(faults, fmt.Sprintf("%s: the key of %s is %s; refer to a key of one column", at, r.feed, strings.Join(key, ", ")))
		}
	}
	return faults
}

// checkReserved refuses columns that the product adds itself, and columns that differ by case only.
func checkReserved(wrong *faults, path string, columns []property) {
	seen := map[string]int{}
	for i, p := range columns {
		name := strings.ToLower(p.Name)
		at := fmt.Sprintf("%s[%d].name", path, i)
		if slices.Contains(reserved, name) {
			wrong.add(at, "%s is a column that versions have; choose another name", p.Name)
		}
		if first, twice := seen[name]; twice {
			wrong.add(at, "%s is properties[%d] already", p.Name, first)
			continue
		}
		seen[name] = i
	}
}

// rules is the feed as the rules of jobs know it.
func (c *Contract) rules() job.Feed {
	return job.Feed{Name: c.Feed, Completeness: job.Completeness(c.Completeness), ExpectedFiles: c.ExpectedFiles,
		Prerequisites: c.Prerequisites, Window: time.Duration(c.WindowMinutes) * time.Minute}
}

// contractNames are the feeds that have a contract.
func contractNames(folder string) []string {
	files, _ := filepath.Glob(filepath.Join(folder, "*.yaml")) // the pattern is right
	names := []string{}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return names
}
