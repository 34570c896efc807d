package random

import (
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"reflect"
	"testing"

	official "github.com/pulumi/pulumi-random/sdk/v4/go/random"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

func TestEveryTypeIsTheOfficialOne(t *testing.T) {
	types := Provider().Types
	for token, sdk := range map[string]struct{ args, resource any }{
		"random:index/randomId:RandomId":         {official.RandomIdArgs{}, official.RandomId{}},
		"random:index/randomString:RandomString": {official.RandomStringArgs{}, official.RandomString{}},
	} {
		typ := types[token]
		arguments := properties(sdk.args.(interface{ ElementType() reflect.Type }).ElementType())
		var inputs []string
		for name, input := range typ.Inputs {
			inputs = append(inputs, name)
			assert.True(t, input.Immutable, "%s: %s", token, name)
		}
		assert.ElementsMatch(t, arguments, inputs, token)
		assert.ElementsMatch(t, properties(reflect.TypeOf(sdk.resource)), append(inputs, typ.Outputs...), token)
	}
	assert.Len(t, types, 2)
}

// properties are the property names of a struct of the SDK.
func properties(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if name, ok := t.Field(i).Tag.Lookup("pulumi"); ok {
			names = append(names, name)
		}
	}
	return names
}

func TestAllFormsOfAnIDAreOneNumber(t *testing.T) {
	id, live, err := randomID().Create(t.Context(), native.Object{"byteLength": 8.0, "prefix": "p-"})
	require.NoError(t, err)
	value, err := base64.RawURLEncoding.DecodeString(id)
	require.NoError(t, err)
	assert.Len(t, value, 8)
	assert.Equal(t, native.Object{
		"hex":    "p-" + hex.EncodeToString(value),
		"dec":    "p-" + new(big.Int).SetBytes(value).String(),
		"b64Url": "p-" + id,
		"b64Std": "p-" + base64.StdEncoding.EncodeToString(value),
	}, live)
}

func TestStringHasTheAskedCharacters(t *testing.T) {
	for _, c := range []struct {
		inputs  native.Object
		pattern string
	}{
		{native.Object{"length": 20.0, "special": false, "upper": false}, "^[a-z0-9]{20}$"},
		{native.Object{"length": 6.0, "minNumeric": 6.0}, "^[0-9]{6}$"},
		{native.Object{"length": 5.0, "upper": false, "lower": false, "numeric": false, "overrideSpecial": "_"}, "^_{5}$"},
		{native.Object{"length": 9.0, "number": false, "special": false}, "^[A-Za-z]{9}$"},
	} {
		result, live, err := randomString().Create(t.Context(), c.inputs)
		require.NoError(t, err)
		assert.Regexp(t, c.pattern, result)
		assert.Equal(t, result, live["result"])
	}
}

func TestStringThatCannotBeIsRefused(t *testing.T) {
	for _, inputs := range []native.Object{
		{"length": 0.0},
		{"length": 2.0, "minLower": 3.0},
		{"length": 2.0, "upper": false, "lower": false, "numeric": false, "special": false},
	} {
		_, _, err := randomString().Create(t.Context(), inputs)
		assert.ErrorContains(t, err, "length must be at least 1")
	}
}
