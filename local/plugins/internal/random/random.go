// Package random is the part of the random provider that programs here use: RandomId and RandomString, as the official one makes them.
package random

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

// Version is the SDK that the types follow.
const Version = "4.18.4"

// Provider is the random provider.
func Provider() native.Provider {
	return native.Provider{
		Name:    "random",
		Version: Version,
		Types: map[string]native.Type{
			"random:index/randomId:RandomId":         randomID(),
			"random:index/randomString:RandomString": randomString(),
		},
	}
}

func randomID() native.Type {
	typ := kept(map[string]native.Input{
		"byteLength": {Required: true, Immutable: true},
		"prefix":     {Immutable: true},
		"keepers":    {Immutable: true},
	}, "b64Std", "b64Url", "dec", "hex")
	typ.Create = func(_ context.Context, inputs native.Object) (string, native.Object, error) {
		length := int(number(inputs, "byteLength", 0))
		if length < 1 {
			return "", nil, fmt.Errorf("byteLength: %d is less than 1", length)
		}
		value := make([]byte, length)
		if _, err := rand.Read(value); err != nil {
			return "", nil, err
		}
		prefix, _ := inputs["prefix"].(string)
		return base64.RawURLEncoding.EncodeToString(value), native.Object{
			"b64Std": prefix + base64.StdEncoding.EncodeToString(value),
			"b64Url": prefix + base64.RawURLEncoding.EncodeToString(value),
			"hex":    prefix + hex.EncodeToString(value),
			"dec":    prefix + new(big.Int).SetBytes(value).String(),
		}, nil
	}
	return typ
}

// classes are the kinds of characters of a RandomString: the input that admits each, the one with its least count, and the characters.
var classes = []struct{ admit, least, characters string }{
	{"upper", "minUpper", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
	{"lower", "minLower", "abcdefghijklmnopqrstuvwxyz"},
	{"numeric", "minNumeric", "0123456789"},
	{"special", "minSpecial", "!@#$%&*()-_=+[]{}<>:?"},
}

func randomString() native.Type {
	inputs := map[string]native.Input{
		"length":          {Required: true, Immutable: true},
		"overrideSpecial": {Immutable: true},
		"keepers":         {Immutable: true},
		"number":          {Immutable: true},
	}
	for _, class := range classes {
		inputs[class.admit] = native.Input{Immutable: true, Default: native.Value(true)}
		inputs[class.least] = native.Input{Immutable: true}
	}
	typ := kept(inputs, "result")
	typ.Create = func(_ context.Context, inputs native.Object) (string, native.Object, error) {
		result, err := generate(inputs)
		return result, native.Object{"result": result, "number": inputs["numeric"]}, err
	}
	return typ
}

// generate makes a string that has at least the asked number of each class and otherwise any admitted character.
func generate(inputs native.Object) (string, error) {
	length := int(number(inputs, "length", 0))
	var result []byte
	admitted := ""
	for _, class := range classes {
		characters := class.characters
		if override, _ := inputs["overrideSpecial"].(string); class.admit == "special" && override != "" {
			characters = override
		}
		admit := inputs[class.admit] != false
		if old, set := inputs["number"].(bool); set && class.admit == "numeric" {
			admit = old // the deprecated spelling
		}
		if !admit {
			continue
		}
		admitted += characters
		for range int(number(inputs, class.least, 0)) {
			c, err := pick(characters)
			if err != nil {
				return "", err
			}
			result = append(result, c)
		}
	}
	if length < 1 || length < len(result) || admitted == "" {
		return "", errors.New("length must be at least 1 and the sum of the least counts, and some class must be admitted")
	}
	for len(result) < length {
		c, err := pick(admitted)
		if err != nil {
			return "", err
		}
		result = append(result, c)
	}
	for i := len(result) - 1; i > 0; i-- {
		j, err := rand.Int(rand.Reader, big.NewInt(int64(i+1)))
		if err != nil {
			return "", err
		}
		result[i], result[j.Int64()] = result[j.Int64()], result[i]
	}
	return string(result), nil
}

// pick takes one of the characters.
func pick(characters string) (byte, error) {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(len(characters))))
	if err != nil {
		return 0, err
	}
	return characters[i.Int64()], nil
}

// kept is a type whose values exist in the state only.
func kept(inputs map[string]native.Input, outputs ...string) native.Type {
	return native.Type{
		Inputs:  inputs,
		Outputs: outputs,
		Read: func(_ context.Context, id string, known native.Object) (native.Object, error) {
			if len(known) == 0 {
				return nil, fmt.Errorf("import of %s: the local random plugin cannot import; create a new value instead", strings.TrimSpace(id))
			}
			return known, nil
		},
		Delete: func(context.Context, string, native.Object) error { return nil },
	}
}

// number reads an input that JSON made a float.
func number(inputs native.Object, key string, otherwise float64) float64 {
	if value, ok := inputs[key].(float64); ok {
		return value
	}
	return otherwise
}
