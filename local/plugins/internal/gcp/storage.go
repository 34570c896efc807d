package gcp

import (
	"context"
	"net/url"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

var bucketFields = append(plain(nil, "name", "location", "storageClass", "labels", "softDeletePolicy", "versioning", "encryption"),
	field{input: "uniformBucketLevelAccess", path: "iamConfiguration.uniformBucketLevelAccess.enabled"},
	field{input: "publicAccessPrevention", path: "iamConfiguration.publicAccessPrevention"},
	field{input: "requesterPays", path: "billing.requesterPays"},
	field{input: "lifecycleRules", path: "lifecycle.rule", send: each(sendCondition), read: each(readCondition)},
)

func (c *client) bucket() native.Type {
	return native.Type{
		Inputs: map[string]native.Input{
			"name":                     {Immutable: true, Names: true, AutoName: true},
			"project":                  c.projectInput(),
			"location":                 {Required: true, Immutable: true, Compare: foldCase},
			"storageClass":             {Default: native.Value("STANDARD")},
			"labels":                   {},
			"uniformBucketLevelAccess": {Computed: true},
			"publicAccessPrevention":   {Computed: true},
			"softDeletePolicy":         {Computed: true, Nested: true},
			"versioning":               {},
			"encryption":               {Nested: true},
			"requesterPays":            {},
			"lifecycleRules":           {Nested: true},
			"forceDestroy":             {Local: true, Default: native.Value(false)},
		},
		Outputs: []string{"effectiveLabels", "projectNumber", "pulumiLabels", "selfLink", "url"},
		Create: func(ctx context.Context, in native.Object) (string, native.Object, error) {
			path := storageAPI + "/b?project=" + url.QueryEscape(text(in, "project"))
			answer, err := c.do(ctx, "POST", path, body(bucketFields, in, false))
			return text(in, "name"), bucketProperties(answer), err
		},
		Read: func(ctx context.Context, id string, _ native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "GET", storageAPI+"/b/"+id, nil)
			if err != nil {
				return nil, err
			}
			project, err := c.do(ctx, "GET", projectsAPI+"/projects/"+text(answer, "projectNumber"), nil)
			return with(bucketProperties(answer), native.Object{"project": project["projectId"]}), err
		},
		Update: func(ctx context.Context, id string, _, new native.Object) (native.Object, error) {
			answer, err := c.do(ctx, "PUT", storageAPI+"/b/"+id, body(bucketFields, new, false))
			return bucketProperties(answer), err
		},
		Delete: func(ctx context.Context, id string, state native.Object) error {
			if state["forceDestroy"] == true {
				if err := c.empty(ctx, id); err != nil {
					return err
				}
			}
			_, err := c.do(ctx, "DELETE", storageAPI+"/b/"+id, nil)
			return err
		},
	}
}

// empty deletes the objects of a bucket.
func (c *client) empty(ctx context.Context, bucket string) error {
	for {
		page, err := c.do(ctx, "GET", storageAPI+"/b/"+bucket+"/o", nil)
		if err != nil {
			return err
		}
		items, _ := page["items"].([]any)
		if len(items) == 0 {
			return nil
		}
		for _, item := range items {
			object, _ := item.(map[string]any)
			if _, err := c.do(ctx, "DELETE", storageAPI+"/b/"+bucket+"/o/"+url.PathEscape(text(object, "name")), nil); err != nil {
				return err
			}
		}
	}
}

func bucketProperties(answer native.Object) native.Object {
	live := labelled(properties(bucketFields, answer))
	return with(live, native.Object{
		"selfLink":      answer["selfLink"],
		"projectNumber": int64Number(answer["projectNumber"]),
		"url":           "gs://" + text(answer, "name"),
	})
}

// conditionNames are the conditions of lifecycle rules that the SDK spells otherwise than Google.
var conditionNames = map[string]string{
	"matchesPrefixes":       "matchesPrefix",
	"matchesSuffixes":       "matchesSuffix",
	"matchesStorageClasses": "matchesStorageClass",
}

// each applies a change to the condition of every lifecycle rule.
func each(change func(native.Object) native.Object) func(any) any {
	return func(v any) any {
		rules, ok := v.([]any)
		if !ok {
			return v
		}
		out := make([]any, len(rules))
		for i, rule := range rules {
			out[i] = rule
			if object, ok := rule.(map[string]any); ok {
				condition, _ := object["condition"].(map[string]any)
				out[i] = native.Object{"action": object["action"], "condition": change(condition)}
			}
		}
		return out
	}
}

func sendCondition(condition native.Object) native.Object {
	out := native.Object{}
	for key, value := range condition {
		if name, ok := conditionNames[key]; ok {
			key = name
		}
		if key == "withState" {
			key, value = "isLive", value == "LIVE"
			if condition["withState"] == "ANY" {
				continue
			}
		}
		out[key] = value
	}
	return out
}

func readCondition(condition native.Object) native.Object {
	out := native.Object{}
	for key, value := range condition {
		for ours, theirs := range conditionNames {
			if key == theirs {
				key = ours
			}
		}
		if key == "isLive" {
			key, value = "withState", map[bool]string{true: "LIVE", false: "ARCHIVED"}[value == true]
		}
		out[key] = value
	}
	return out
}
