// Package parent ends a plugin whose engine is gone. An engine that is killed cannot tell its plugins, and they
// would go on for minutes.
package parent

import (
	"os"
	"time"
)

// Gone is closed soon after the process that started this one has ended.
func Gone() <-chan struct{} {
	gone, parent := make(chan struct{}), os.Getppid()
	go func() {
		for os.Getppid() == parent {
			time.Sleep(500 * time.Millisecond)
		}
		close(gone)
	}()
	return gone
}
