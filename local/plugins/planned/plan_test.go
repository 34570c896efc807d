package main

import (
	"encoding/json"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func text(s string) tftypes.Value { return tftypes.NewValue(tftypes.String, s) }

func object(fields map[string]tftypes.Value) tftypes.Value {
	types := map[string]tftypes.Type{}
	for name, value := range fields {
		types[name] = value.Type()
	}
	return tftypes.NewValue(tftypes.Object{AttributeTypes: types}, fields)
}

func list(elements ...tftypes.Value) tftypes.Value {
	return tftypes.NewValue(tftypes.List{ElementType: elements[0].Type()}, elements)
}

// rendered is the first resource of a plan: values, what is unknown, and where the values come from.
func rendered(t *testing.T, planned, created tftypes.Value, from sources, known map[string][]origin) [3]string {
	t.Helper()
	p := newPlan()
	if known != nil {
		p.origins = known
	}
	require.NoError(t, p.addAWS("urn", &change{kind: "aws_thing", name: "us", planned: planned, created: created}, from))
	out := [3]string{}
	for i, part := range []any{p.resources[0].values, p.resources[0].unknown, p.resources[0].expressions} {
		data, err := json.Marshal(part)
		require.NoError(t, err)
		out[i] = string(data)
	}
	return out
}

func TestValueFromAnotherResourceIsAReference(t *testing.T) {
	known := map[string][]origin{"bucket-1": {{"urn:bucket", "aws_s3_bucket.us", "bucket"}, {"urn:bucket", "aws_s3_bucket.us", "id"}}, "role": {{"urn:other", "aws_iam_role.us", "id"}}}
	from := sources{urns: map[string]bool{"urn:bucket": true}, own: map[string]bool{}}
	planned := object(map[string]tftypes.Value{
		"bucket": text("bucket-1"), "role": text("role"), "policy": text(`{"Resource":"bucket-1"}`),
		"block": list(object(map[string]tftypes.Value{"target": text("bucket-1"), "days": tftypes.NewValue(tftypes.Number, 3)})),
		"many":  list(text("bucket-1"), text("fixed")),
		"unset": tftypes.NewValue(tftypes.String, nil), "arn": tftypes.NewValue(tftypes.String, tftypes.UnknownValue),
	})
	assert.Equal(t, [3]string{
		`{"block":[{"days":3}],"many":[null,"fixed"],"policy":"{\"Resource\":\"bucket-1\"}","role":"role"}`,
		`{"arn":true,"block":[{"target":true}],"bucket":true,"many":[true,false]}`,
		`{"block":[{"target":{"references":["aws_s3_bucket.us.id","aws_s3_bucket.us"]}}],` +
			`"bucket":{"references":["aws_s3_bucket.us.id","aws_s3_bucket.us"]},` +
			`"many":{"references":["aws_s3_bucket.us.id","aws_s3_bucket.us"]}}`,
	}, rendered(t, planned, planned, from, known))
}

func TestTextOfTheProgramIsNoReference(t *testing.T) {
	known := map[string][]origin{"same-name": {{"urn:role", "aws_iam_role.us", "id"}}}
	from := sources{urns: map[string]bool{"urn:role": true}, own: map[string]bool{"same-name": true}}
	planned := object(map[string]tftypes.Value{"function_name": text("same-name")})
	assert.Equal(t, [3]string{`{"function_name":"same-name"}`, `{}`, `{}`}, rendered(t, planned, planned, from, known))
}

func TestUnknownBecomesLikely(t *testing.T) {
	planned := object(map[string]tftypes.Value{
		"name": text("us-tickets"), "arn": tftypes.NewValue(tftypes.String, tftypes.UnknownValue),
		"url": tftypes.NewValue(tftypes.String, tftypes.UnknownValue), "size": tftypes.NewValue(tftypes.Number, tftypes.UnknownValue),
	})
	created, err := likely(&change{kind: "aws_sqs_queue", name: "us", at: place{"111122223333", "eu-west-1"}, planned: planned})
	require.NoError(t, err)
	assert.True(t, created.Equal(object(map[string]tftypes.Value{
		"name": text("us-tickets"), "arn": text("arn:aws:sqs:eu-west-1:111122223333:us-tickets"),
		"url": text("https://sqs.eu-west-1.amazonaws.com/111122223333/us-tickets"), "size": tftypes.NewValue(tftypes.Number, 1),
	})), created)
}

func TestGoogleIsSpelledAsTerraformDoes(t *testing.T) {
	p := newPlan()
	created, err := p.addGoogle("gcp:storage/bucket:Bucket", "us", "urn", map[string]any{
		"name": "load", "labels": map[string]any{"country": "us"},
		"lifecycleRules": []any{map[string]any{"action": map[string]any{"type": "Delete"}}},
	}, sources{})
	require.NoError(t, err)
	values, err := json.Marshal(p.resources[0].values)
	require.NoError(t, err)
	assert.Equal(t, `{"labels":{"country":"us"},"lifecycle_rule":[{"action":[{"type":"Delete"}]}],"name":"load"}`, string(values))
	assert.Equal(t, "load", created["name"])
	_, err = p.addGoogle("gcp:pubsub/topic:Topic", "us", "urn", nil, sources{})
	assert.EqualError(t, err, "say in google.go what Terraform calls gcp:pubsub/topic:Topic")
}
