package emulator

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/sluice-data/sluice/internal/discovery"
)

// Items writes items: DynamoDB's client, or a Memory.
type Items interface {
	PutItem(ctx context.Context, in *dynamodb.PutItemInput, options ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, options ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// Tables creates a ledger's empty tables as the deployment does, under a prefix, and writes the feeds.
func Tables(t testing.TB, db Items, prefix string, feeds ...map[string]types.AttributeValue) discovery.Tables {
	t.Helper()
	names := discovery.Tables{Feeds: prefix + "-feeds", Jobs: prefix + "-jobs", Runs: prefix + "-runs", Files: prefix + "-files", Progress: prefix + "-progress"}
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
		real, ok := db.(*dynamodb.Client)
		if !ok {
			continue // a Memory makes its tables itself
		}
		exists := (*types.ResourceInUseException)(nil) // by a call whose answer got lost
		if _, err := real.CreateTable(t.Context(), in); err != nil && !errors.As(err, &exists) {
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
func Set(t testing.TB, db Items, table string, key map[string]types.AttributeValue, values map[string]types.AttributeValue) {
	t.Helper()
	in := &dynamodb.UpdateItemInput{TableName: &table, Key: key, ExpressionAttributeNames: map[string]string{}, ExpressionAttributeValues: map[string]types.AttributeValue{}}
	var sets []string
	for name, value := range values {
		in.ExpressionAttributeNames["#"+name], in.ExpressionAttributeValues[":"+name] = name, value
		sets = append(sets, "#"+name+" = :"+name)
	}
	in.UpdateExpression = aws.String("SET " + strings.Join(sets, ", "))
	if _, err := db.UpdateItem(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}
