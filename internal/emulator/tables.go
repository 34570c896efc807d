package emulator

import (
	"errors"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/settings"
)

// Tables creates a ledger's empty tables as the deployment does, under a prefix, and writes the feeds.
func Tables(t testing.TB, db *dynamodb.Client, prefix string, feeds ...map[string]types.AttributeValue) settings.Tables {
	t.Helper()
	names := settings.Tables{Feeds: prefix + "-feeds", Jobs: prefix + "-jobs", Runs: prefix + "-runs", Files: prefix + "-files", Progress: prefix + "-progress"}
	type key struct {
		name string
		kind types.ScalarAttributeType
	}
	for table, keys := range map[string][]key{
		names.Feeds: {{"feed", "S"}}, names.Jobs: {{"feed", "S"}, {"day", "S"}}, names.Runs: {{"job", "S"}, {"token", "N"}},
		names.Files: {{"job", "S"}, {"file", "S"}}, names.Progress: {{"name", "S"}},
	} {
		in := &dynamodb.CreateTableInput{TableName: &table, BillingMode: types.BillingModePayPerRequest}
		for i, k := range keys {
			in.AttributeDefinitions = append(in.AttributeDefinitions, types.AttributeDefinition{AttributeName: &k.name, AttributeType: k.kind})
			in.KeySchema = append(in.KeySchema, types.KeySchemaElement{AttributeName: &k.name, KeyType: []types.KeyType{types.KeyTypeHash, types.KeyTypeRange}[i]})
		}
		exists := (*types.ResourceInUseException)(nil) // by a call whose answer got lost
		if _, err := db.CreateTable(t.Context(), in); err != nil && !errors.As(err, &exists) {
			t.Fatal(err)
		}
	}
	for _, f := range feeds {
		if _, err := db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &names.Feeds, Item: f}); err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// Feed is the item of a feed that is complete by marker, as the deployment writes it.
func Feed(name string, prerequisites ...string) map[string]types.AttributeValue {
	list := &types.AttributeValueMemberL{}
	for _, p := range prerequisites {
		list.Value = append(list.Value, &types.AttributeValueMemberS{Value: p})
	}
	return map[string]types.AttributeValue{
		"feed": &types.AttributeValueMemberS{Value: name}, "contractKey": &types.AttributeValueMemberS{Value: "contracts/" + name + ".json"},
		"completeness": &types.AttributeValueMemberS{Value: "marker"}, "expectedFiles": &types.AttributeValueMemberN{Value: "0"},
		"prerequisites": list, "engine": &types.AttributeValueMemberS{Value: "auto"}, "windowMinutes": &types.AttributeValueMemberN{Value: "60"},
		"hash": &types.AttributeValueMemberS{Value: "0"},
	}
}

// Set is one attribute of an item, for tests that play somebody else's part.
func Set(t testing.TB, db *dynamodb.Client, table string, key map[string]types.AttributeValue, values map[string]types.AttributeValue) {
	t.Helper()
	update := map[string]types.AttributeValueUpdate{}
	for name, value := range values {
		update[name] = types.AttributeValueUpdate{Action: types.AttributeActionPut, Value: value}
	}
	if _, err := db.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(table), Key: key, AttributeUpdates: update}); err != nil {
		t.Fatal(err)
	}
}
