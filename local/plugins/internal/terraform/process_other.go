//go:build !linux

package terraform

import "syscall"

// dieWithParent has no equivalent of Linux's parent-death signal: the provider notices its closed connection.
func dieWithParent() *syscall.SysProcAttr { return nil }
