package gcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

var datasetFields = append(plain("", "friendlyName", "description", "defaultCollation", "storageBillingModel"),
	field{input: "location"},
	field{input: "maxTimeTravelHours"},
	field{input: "isCaseInsensitive"},
	field{input: "defaultEncryptionConfiguration"},
	field{input: "accesses", path: "access", none: []any{}},
	field{input: "labels", none: native.Object{}},
	field{input: "defaultTableExpirationMs", send: int64Text, read: int64Number},
	field{input: "defaultPartitionExpirationMs", send: int64Text, read: int64Number},
)

var datasetOutputs = []string{"creationTime", "effectiveLabels", "etag", "lastModifiedTime", "pulumiLabels", "selfLink"}

func (c *client) dataset() native.Type {
	return native.Type{
		Inputs: map[string]native.Input{
			"datasetId":                      {Required: true, Immutable: true, Names: true},
			"project":                        c.projectInput(),
			"location":                       {Immutable: true, Default: native.Value("US"), Compare: foldCase},
			"friendlyName":                   {},
			"description":                    {},
			"labels":                         {},
			"accesses":                       {Computed: true},
			"defaultTableExpirationMs":       {},
			"defaultPartitionExpirationMs":   {},
			"maxTimeTravelHours":             {Computed: true},
			"isCaseInsensitive":              {Computed: true},
			"defaultCollation":               {Computed: true},
			"storageBillingModel":            {Computed: true},
			"defaultEncryptionConfiguration": {Nested: true},
			"deleteContentsOnDestroy":        {Local: true, Default: native.Value(false)},
		},
		Outputs: datasetOutputs,
		Create: func(ctx context.Context, in native.Object) (string, native.Object, error) {
			project, id := text(in, "project"), text(in, "datasetId")
			request := body(datasetFields, in, false)
			request["datasetReference"] = native.Object{"projectId": project, "datasetId": id}
			answer, err := c.do(ctx, "POST", bigqueryAPI+"/projects/"+project+"/datasets", request)
			return "projects/" + project + "/datasets/" + id, datasetProperties(answer), err
		},
		Read: func(ctx context.Context, id string, _ native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "GET", bigqueryAPI+"/"+id, nil)
			return datasetProperties(answer), err
		},
		Update: func(ctx context.Context, id string, old, new native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "PATCH", bigqueryAPI+"/"+id, body(changed(datasetFields, old, new), new, true))
			return datasetProperties(answer), err
		},
		Delete: func(ctx context.Context, id string, state native.Object) error {
			path := bigqueryAPI + "/" + id
			if state["deleteContentsOnDestroy"] == true {
				path += "?deleteContents=true"
			}
			_, err := c.do(ctx, "DELETE", path, nil)
			return err
		},
	}
}

func datasetProperties(answer native.Object) native.Object {
	live := labelled(properties(datasetFields, answer))
	return with(live, native.Object{
		"datasetId":        get(answer, "datasetReference.datasetId"),
		"project":          get(answer, "datasetReference.projectId"),
		"creationTime":     int64Number(answer["creationTime"]),
		"lastModifiedTime": int64Number(answer["lastModifiedTime"]),
		"etag":             answer["etag"],
		"selfLink":         answer["selfLink"],
	})
}

var tableFields = append(plain("", "friendlyName", "description"),
	field{input: "schema", send: schemaObject, read: schemaText},
	field{
		input: "timePartitioning",
		send:  within("expirationMs", int64Text),
		read:  within("expirationMs", int64Number),
	},
	field{input: "clusterings", path: "clustering.fields", none: []any{}},
	field{input: "labels", none: native.Object{}},
	field{input: "expirationTime", send: int64Text, read: int64Number},
	field{input: "requirePartitionFilter", none: false},
	field{input: "encryptionConfiguration"},
)

func (c *client) table() native.Type {
	return native.Type{
		Inputs: map[string]native.Input{
			"tableId":                 {Required: true, Immutable: true, Names: true},
			"datasetId":               {Required: true, Immutable: true, Names: true},
			"project":                 c.projectInput(),
			"schema":                  {Computed: true, Compare: compareSchemas},
			"timePartitioning":        {Nested: true, Compare: comparePartitioning},
			"clusterings":             {},
			"friendlyName":            {},
			"description":             {},
			"labels":                  {},
			"expirationTime":          {Computed: true},
			"requirePartitionFilter":  {},
			"encryptionConfiguration": {Immutable: true, Nested: true},
			"deletionProtection":      {Local: true, Default: native.Value(true)},
		},
		Outputs: []string{
			"creationTime", "effectiveLabels", "etag", "lastModifiedTime", "location", "numBytes", "numLongTermBytes", "numRows",
			"pulumiLabels", "selfLink", "type",
		},
		Create: func(ctx context.Context, in native.Object) (string, native.Object, error) {
			project, dataset, id := text(in, "project"), text(in, "datasetId"), text(in, "tableId")
			parent := fmt.Sprintf("projects/%s/datasets/%s", project, dataset)
			request := body(tableFields, in, false)
			request["tableReference"] = native.Object{"projectId": project, "datasetId": dataset, "tableId": id}
			answer, err := c.do(ctx, "POST", bigqueryAPI+"/"+parent+"/tables", request)
			return parent + "/tables/" + id, tableProperties(answer), err
		},
		Read: func(ctx context.Context, id string, _ native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "GET", bigqueryAPI+"/"+id, nil)
			return tableProperties(answer), err
		},
		Update: func(ctx context.Context, id string, old, new native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "PATCH", bigqueryAPI+"/"+id, body(changed(tableFields, old, new), new, true))
			return tableProperties(answer), err
		},
		Delete: func(ctx context.Context, id string, state native.Object) error {
			if state["deletionProtection"] != false {
				return errors.New("the table is protected: set deletionProtection to false and update, then delete")
			}
			_, err := c.do(ctx, "DELETE", bigqueryAPI+"/"+id, nil)
			return err
		},
	}
}

func tableProperties(answer native.Object) native.Object {
	live := labelled(properties(tableFields, answer))
	return with(live, native.Object{
		"tableId":          get(answer, "tableReference.tableId"),
		"datasetId":        get(answer, "tableReference.datasetId"),
		"project":          get(answer, "tableReference.projectId"),
		"creationTime":     int64Number(answer["creationTime"]),
		"lastModifiedTime": int64Number(answer["lastModifiedTime"]),
		"numBytes":         int64Number(answer["numBytes"]),
		"numLongTermBytes": int64Number(answer["numLongTermBytes"]),
		"numRows":          int64Number(answer["numRows"]),
		"etag":             answer["etag"],
		"selfLink":         answer["selfLink"],
		"location":         answer["location"],
		"type":             answer["type"],
	})
}

// changed are the fields whose values differ.
func changed(fields []field, old, new native.Object) []field {
	var out []field
	for _, f := range fields {
		if !reflect.DeepEqual(old[f.input], new[f.input]) {
			out = append(out, f)
		}
	}
	return out
}

// schemaObject turns a program's schema, a JSON array, into Google's.
func schemaObject(v any) any {
	s, _ := v.(string)
	var fields []any
	if json.Unmarshal([]byte(s), &fields) != nil {
		return native.Object{"fields": s} // Google says what is wrong with it
	}
	return native.Object{"fields": fields}
}

// schemaText turns it back.
func schemaText(v any) any {
	fields := get(native.Object{"schema": v}, "schema.fields")
	if fields == nil {
		return nil
	}
	out, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return string(out)
}

// column is what matters of a schema's field.
type column struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`
	Mode        string   `json:"mode"`
	Description string   `json:"description"`
	Fields      []column `json:"fields"`
}

// legacyTypes are the second spellings of types, which BigQuery answers.
var legacyTypes = map[string]string{"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}

// columns reads a schema, with types and modes in one spelling.
func columns(schema any) ([]column, error) {
	var read []column
	s, _ := schema.(string)
	if s == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(s), &read); err != nil {
		return nil, err
	}
	canonical(read)
	return read, nil
}

func canonical(fields []column) {
	for i := range fields {
		f := &fields[i]
		f.Name, f.Type, f.Mode = strings.ToLower(f.Name), strings.ToUpper(f.Type), strings.ToUpper(f.Mode)
		if legacy, ok := legacyTypes[f.Type]; ok {
			f.Type = legacy
		}
		if f.Mode == "" {
			f.Mode = "NULLABLE"
		}
		canonical(f.Fields)
	}
}

// compareSchemas says whether a table can take a new schema: it can get columns, lose requirements and change descriptions.
func compareSchemas(old, new any) native.Change {
	before, errBefore := columns(old)
	after, errAfter := columns(new)
	if errBefore != nil || errAfter != nil {
		return native.Update // the service says what is wrong
	}
	if reflect.DeepEqual(before, after) {
		return native.Same
	}
	kept := map[string]column{}
	for _, c := range after {
		kept[c.Name] = c
	}
	for _, c := range before {
		successor, ok := kept[c.Name]
		if !ok || successor.Type != c.Type || !reflect.DeepEqual(successor.Fields, c.Fields) ||
			successor.Mode != c.Mode && (c.Mode != "REQUIRED" || successor.Mode != "NULLABLE") {
			return native.Replace
		}
		delete(kept, c.Name)
	}
	for _, added := range kept {
		if added.Mode == "REQUIRED" {
			return native.Replace
		}
	}
	return native.Update
}

// comparePartitioning replaces a table whose partitions change, and updates one whose partitions only live longer.
func comparePartitioning(old, new any) native.Change {
	before, _ := old.(map[string]any)
	after, _ := new.(map[string]any)
	if before == nil || after == nil || before["type"] != after["type"] || before["field"] != after["field"] {
		return native.Replace
	}
	return native.Update
}
