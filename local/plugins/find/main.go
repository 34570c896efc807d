// Command find prints where on this machine the Terraform AWS provider is, or says what to install. It is run before anything is built.
package main

import (
	"fmt"
	"os"

	"github.com/sluice-data/sluice/local/plugins/internal/machine"
)

func main() {
	path, err := machine.ThisMachine().Find(machine.AWS)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(path)
}
