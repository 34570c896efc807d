package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
)

// googleTypes are Terraform's names of the types of pulumi-gcp.
var googleTypes = map[string]string{
	"gcp:bigquery/dataset:Dataset":                                      "google_bigquery_dataset",
	"gcp:bigquery/datasetIamMember:DatasetIamMember":                    "google_bigquery_dataset_iam_member",
	"gcp:bigquery/table:Table":                                          "google_bigquery_table",
	"gcp:iam/workloadIdentityPool:WorkloadIdentityPool":                 "google_iam_workload_identity_pool",
	"gcp:iam/workloadIdentityPoolProvider:WorkloadIdentityPoolProvider": "google_iam_workload_identity_pool_provider",
	"gcp:projects/iAMMember:IAMMember":                                  "google_project_iam_member",
	"gcp:serviceaccount/account:Account":                                "google_service_account",
	"gcp:serviceaccount/iAMMember:IAMMember":                            "google_service_account_iam_member",
	"gcp:storage/bucket:Bucket":                                         "google_storage_bucket",
	"gcp:storage/bucketIAMMember:BucketIAMMember":                       "google_storage_bucket_iam_member",
}

// googleMaps are the properties that hold a map of plain values; every other object is a block.
var googleMaps = map[string]bool{"labels": true, "attributeMapping": true}

// googlePlurals are the lists whose singular is Terraform's name.
var googlePlurals = map[string]string{"lifecycleRules": "lifecycle_rule", "accesses": "access"}

// addGoogle adds a resource at Google, and returns what it would be once it exists. No provider plans it: its values are the
// program's.
func (p *planned) addGoogle(token, name, urn string, inputs map[string]any, from sources) (map[string]any, error) {
	kind, ok := googleTypes[token]
	if !ok {
		return nil, fmt.Errorf("say in google.go what Terraform calls %s", token)
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	r := &reading{plan: p, from: from}
	values, unknown, expressions := r.google(inputs)
	p.resources = append(p.resources, planResource{kind: kind, name: name, values: values, unknown: unknown, expressions: expressions})

	created := maps.Clone(inputs)
	project, _ := inputs["project"].(string)
	short := strings.TrimPrefix(kind, "google_")
	for key, value := range map[string]string{
		"id": "projects/" + project + "/" + short + "/" + name, "name": "projects/" + project + "/" + short + "/" + name,
		"email": name + "@" + project + ".iam.gserviceaccount.com", "selfLink": "https://www.googleapis.com/" + short + "/" + name,
	} {
		if _, given := created[key]; !given {
			created[key] = value
		}
	}
	for key, value := range created {
		if text, ok := value.(string); ok {
			p.addOrigin(text, origin{urn, kind + "." + name, snake(key)})
		}
	}
	return created, nil
}

// google is attributes for values in Pulumi's form.
func (r *reading) google(inputs map[string]any) (values, unknown, expressions map[string]any) {
	values, unknown, expressions = map[string]any{}, map[string]any{}, map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(inputs)) {
		named, ok := googlePlurals[key]
		if !ok {
			named = snake(key)
		}
		switch v := inputs[key].(type) {
		case string:
			if references := r.references(v); references != nil {
				unknown[named], expressions[named] = true, map[string]any{"references": references}
				continue
			}
			values[named] = v
		case map[string]any:
			if googleMaps[key] {
				values[named] = v
				continue
			}
			inner, unknowns, from := r.google(v)
			values[named] = []any{inner}
			if len(unknowns) > 0 {
				unknown[named], expressions[named] = []any{unknowns}, []any{from}
			}
		case []any:
			list := []any{}
			for _, element := range v {
				if object, ok := element.(map[string]any); ok {
					element, _, _ = r.google(object)
				}
				list = append(list, element)
			}
			values[named] = list
		default:
			values[named] = v
		}
	}
	return values, unknown, expressions
}

// snake is Terraform's spelling of a property.
func snake(camel string) string {
	var b strings.Builder
	for _, letter := range camel {
		if unicode.IsUpper(letter) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(letter))
	}
	return b.String()
}
