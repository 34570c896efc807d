// Package policies holds the access documents of the product: who may do what to which key, bucket, queue, topic and table.
//
// Each document is a function of strings, so that a reviewer can read its golden in testdata without an account, and a test can
// decide questions with it. Creating roles and attaching documents is left to package infra.
package policies

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement is one rule of a Document. Its Sid says what it allows or denies.
type Statement struct {
	Sid       string
	Effect    string
	Principal *Principal `json:",omitempty"`
	Action    Strings
	Resource  Strings   `json:",omitempty"`
	Condition Condition `json:",omitempty"`
}

// Principal names who a statement of a resource's own policy is about; Any stands for everybody.
type Principal struct {
	AWS       Strings `json:",omitempty"`
	Federated Strings `json:",omitempty"`
	Service   Strings `json:",omitempty"`
	Any       bool    `json:"-"`
}

// MarshalJSON writes "*" for everybody.
func (p Principal) MarshalJSON() ([]byte, error) {
	if p.Any {
		return []byte(`"*"`), nil
	}
	type plain Principal
	return json.Marshal(plain(p))
}

// Condition is the operators of a statement, each with its keys and their values.
type Condition map[string]map[string]Strings

// Strings is one string or several; one alone is written as AWS gives it back, without a list around it.
type Strings []string

// MarshalJSON writes a single string as it is.
func (s Strings) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// JSON renders the document.
func (d Document) JSON() (string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return "", fmt.Errorf("policy document: %w", err)
	}
	return string(text), nil
}

// New joins statements to a document.
func New(statements ...Statement) Document {
	return Document{Version: "2012-10-17", Statement: statements}
}

// Join is one document that allows what all of these allow, and nothing else. Statements that differ in nothing but their resources become
// one with the resources of each, which says the same in fewer characters. Statements that differ in more need ids of their own.
func Join(documents ...Document) Document {
	joined := New()
	for _, d := range documents {
		for _, s := range d.Statement {
			i := slices.IndexFunc(joined.Statement, s.sameButForResources)
			if i < 0 {
				s.Resource = unique(s.Resource)
				joined.Statement = append(joined.Statement, s)
				continue
			}
			joined.Statement[i].Resource = unique(slices.Concat(joined.Statement[i].Resource, s.Resource))
		}
	}
	return joined
}

func (s Statement) sameButForResources(other Statement) bool {
	if s.Sid != other.Sid {
		return false
	}
	s.Resource, other.Resource = nil, nil
	return reflect.DeepEqual(s, other)
}

func allow(sid string, actions, resources Strings) Statement {
	return Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources}
}

func deny(sid string, actions, resources Strings) Statement {
	return Statement{Sid: sid, Effect: "Deny", Action: actions, Resource: resources}
}

// each appends suffix to every ARN.
func each(arns []string, suffix string) Strings {
	out := make(Strings, len(arns))
	for i, arn := range arns {
		out[i] = arn + suffix
	}
	return out
}
