// Package schemas holds the JSON schemas of what people write: the stacks' YAML and the contracts. Editors read the same files.
package schemas

import (
	"bytes"
	_ "embed" // the schemas are part of the program
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed stack.json
var stack []byte

//go:embed contract.json
var contract []byte

// Stack is the schema of a stack's file, Pulumi.<stack>.yaml.
func Stack() (*jsonschema.Schema, error) { return compile("stack.json", stack) }

// Contract is the schema of a data contract: what this product asks of an Open Data Contract, and adds to it.
func Contract() (*jsonschema.Schema, error) { return compile("contract.json", contract) }

func compile(name string, text []byte) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		return nil, fmt.Errorf("schema %s: %w", name, err)
	}
	return compiler.Compile(name)
}
