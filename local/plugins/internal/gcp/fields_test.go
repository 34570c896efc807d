package gcp

import (
	"testing"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
	"github.com/stretchr/testify/assert"
)

func TestSchemaChanges(t *testing.T) {
	old := `[{"name":"a","type":"INT64","mode":"REQUIRED"},{"name":"b","type":"STRING"}]`
	for name, c := range map[string]struct {
		new  string
		want native.Change
	}{
		"other spelling":     {`[{"name":"A","type":"INTEGER","mode":"required"},{"name":"b","type":"string","mode":"NULLABLE"}]`, native.Same},
		"relaxed":            {`[{"name":"a","type":"INT64"},{"name":"b","type":"STRING"}]`, native.Update},
		"described":          {`[{"name":"a","type":"INT64","mode":"REQUIRED","description":"x"},{"name":"b","type":"STRING"}]`, native.Update},
		"one more":           {`[{"name":"a","type":"INT64","mode":"REQUIRED"},{"name":"b","type":"STRING"},{"name":"c","type":"DATE"}]`, native.Update},
		"one more, required": {`[{"name":"a","type":"INT64","mode":"REQUIRED"},{"name":"b","type":"STRING"},{"name":"c","type":"DATE","mode":"REQUIRED"}]`, native.Replace},
		"one less":           {`[{"name":"a","type":"INT64","mode":"REQUIRED"}]`, native.Replace},
		"other type":         {`[{"name":"a","type":"STRING","mode":"REQUIRED"},{"name":"b","type":"STRING"}]`, native.Replace},
		"repeated":           {`[{"name":"a","type":"INT64","mode":"REQUIRED"},{"name":"b","type":"STRING","mode":"REPEATED"}]`, native.Replace},
	} {
		assert.Equal(t, c.want, compareSchemas(old, c.new), name)
	}
}

func TestPartitioningChangesOnlyItsLifeInPlace(t *testing.T) {
	day := map[string]any{"type": "DAY", "field": "_day"}
	assert.Equal(t, native.Update, comparePartitioning(day, map[string]any{"type": "DAY", "field": "_day", "expirationMs": 1.0}))
	assert.Equal(t, native.Replace, comparePartitioning(day, map[string]any{"type": "HOUR", "field": "_day"}))
	assert.Equal(t, native.Replace, comparePartitioning(day, nil))
}

func TestLifecycleConditionsReadBackAsWritten(t *testing.T) {
	rules := []any{map[string]any{
		"action":    map[string]any{"type": "Delete"},
		"condition": map[string]any{"age": 1.0, "matchesPrefixes": []any{"x/"}, "withState": "LIVE"},
	}}
	sent := each(sendCondition)(rules)
	assert.Equal(t, []any{map[string]any{
		"action":    map[string]any{"type": "Delete"},
		"condition": map[string]any{"age": 1.0, "matchesPrefix": []any{"x/"}, "isLive": true},
	}}, sent)
	assert.Equal(t, rules, each(readCondition)(sent))
}

func TestDatasetPolicyKeepsWhatIsNoGrant(t *testing.T) {
	view := map[string]any{"view": map[string]any{"tableId": "v"}}
	owner := map[string]any{"role": "OWNER", "specialGroup": "projectOwners"}
	policy := datasetPolicy(native.Object{"etag": "e", "access": []any{
		view, owner, map[string]any{"role": "WRITER", "userByEmail": "x@p.iam.gserviceaccount.com"},
	}})
	assert.Equal(t, []any{"serviceAccount:x@p.iam.gserviceaccount.com"}, granted(policy, "roles/bigquery.dataEditor"))
	regrant(policy, "roles/bigquery.dataEditor", nil)
	regrant(policy, "roles/bigquery.metadataViewer", []any{"group:g@example.com"})
	assert.Equal(t, []any{
		view, owner, map[string]any{"role": "roles/bigquery.metadataViewer", "groupByEmail": "g@example.com"},
	}, datasetAccess(policy))
}
