// Command pulumi-resource-gcp is the gcp plugin for closed networks: the types that programs here use, on the local Google.
package main

import (
	"fmt"
	"os"

	"github.com/sluice-data/sluice/local/plugins/internal/gcp"
	"github.com/sluice-data/sluice/local/plugins/internal/native"
)

func main() {
	if err := native.Serve(gcp.Provider(os.Getenv(gcp.EndpointVar))); err != nil {
		fmt.Fprintln(os.Stderr, "pulumi-resource-gcp:", err)
		os.Exit(1)
	}
}
