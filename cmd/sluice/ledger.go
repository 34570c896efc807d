package main

import (
	"context"
	"errors"
)

// connect opens a country of a deployed stack.
func connect(ctx context.Context, stack, code string, c country) (place, error) {
	return place{}, errors.New("ledger is not connected yet")
}
