package main

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEverythingThatHoldsDataIsUnderTheCountrysKeys looks at every resource of a country. Of the types that hold something, each has to
// name a key of the country where its type wants one; and wherever any resource names a key, it is one of the country's.
func TestEverythingThatHoldsDataIsUnderTheCountrysKeys(t *testing.T) {
	root := contractsOf(t, map[string]string{"orders.yaml": contractText("orders", marker)})
	table := "  sluice:access: {trust: {account: '000011112222'}, operators: {}, people: [{who: ana, may: [{country: us, stage: curated, verbs: [query]}]}]}\n"
	registered, err := deployed(t, "test", head+table+"  sluice:driver: polling\n  sluice:countries:\n"+us, root, &recorder{zones: 3})
	if err != nil {
		t.Fatal(err)
	}
	const data, state, logs = "arn-of-us-data", "arn-of-us-state", "arn-of-us-logs"
	keys := map[string]struct{ field, key string }{
		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": {"kmsMasterKeyId", data},
		"aws:athena/workgroup:Workgroup":    {"kmsKeyArn", data},
		"aws:dynamodb/table:Table":          {"kmsKeyArn", state},
		"aws:sqs/queue:Queue":               {"kmsMasterKeyId", state},
		"aws:sns/topic:Topic":               {"kmsMasterKeyId", state},
		"aws:lambda/function:Function":      {"kmsKeyArn", state},
		"aws:cloudwatch/logGroup:LogGroup":  {"kmsKeyId", logs},
		"aws:sfn/stateMachine:StateMachine": {"kmsKeyId", state},
	}
	// In these the key stands inside of a document or deeper, and under several names.
	documents := map[string]string{
		"aws:emr/securityConfiguration:SecurityConfiguration":  data, // volumes and objects; traffic has a certificate
		"aws:glue/securityConfiguration:SecurityConfiguration": data, // objects and bookmarks
	}
	seen := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(registered)) {
		kind, name, _ := strings.Cut(id, " ")
		text := registered[id]
		var inputs map[string]any
		if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &inputs); err != nil {
			t.Fatal(err)
		}
		if name != "us" && !strings.HasPrefix(name, "us-") {
			continue // what no country owns has keys of its own
		}
		named := keysIn(inputs)
		if want, ok := keys[kind]; ok {
			seen[kind] = true
			if name == "us-logs" && strings.HasPrefix(kind, "aws:s3/") {
				if !strings.Contains(text, "AES256") { // S3 delivers access logs to no bucket with another key
					t.Errorf("%s is not encrypted: %s", id, text)
				}
			} else if !slices.Equal(named[want.field], []string{want.key}) {
				t.Errorf("%s: %s is %v, want %s", id, want.field, named[want.field], want.key)
			}
		}
		if want, ok := documents[kind]; ok {
			seen[kind] = true
			if !strings.Contains(text, want) {
				t.Errorf("%s names no %s: %s", id, want, text)
			}
		}
		for field, values := range named {
			for _, value := range values {
				if value != data && value != state && value != logs {
					t.Errorf("%s: %s is %s, no key of the country", id, field, value)
				}
			}
		}
	}
	for kind := range keys {
		if !seen[kind] {
			t.Errorf("no %s was there to check", kind)
		}
	}
	for kind := range documents {
		if !seen[kind] {
			t.Errorf("no %s was there to check", kind)
		}
	}
}

var keyField = regexp.MustCompile(`^(kms(Master)?Key(Id|Arn)?|encryptionKeyArn)$`)

// keysIn finds every field, however deep, that names a key.
func keysIn(inputs any) map[string][]string {
	found := map[string][]string{}
	var walk func(field string, value any)
	walk = func(field string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, inner := range v {
				walk(name, inner)
			}
		case []any:
			for _, inner := range v {
				walk(field, inner)
			}
		case string:
			if keyField.MatchString(field) {
				found[field] = append(found[field], v)
			}
		}
	}
	walk("", inputs)
	return found
}
