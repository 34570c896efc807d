// Package test proves the whole path on a local cloud of its own: the real Pulumi engine deploys the stack, a file becomes records and rows
// in BigQuery, and nothing is left after the destroy.
//
// The tests carry the build tag "engine", because they take minutes and need what `make build` makes. `make test` runs them.
package test
