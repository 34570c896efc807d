// Command pulumi-resource-random is the random plugin for closed networks: the types that programs here use.
package main

import (
	"fmt"
	"os"

	"github.com/sluice-data/sluice/local/plugins/internal/native"
	"github.com/sluice-data/sluice/local/plugins/internal/random"
)

func main() {
	if err := native.Serve(random.Provider()); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-random:", err)
		os.Exit(1)
	}
}
