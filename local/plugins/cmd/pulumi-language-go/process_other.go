//go:build !linux

package main

import "syscall"

// dieWithHost has no equivalent of Linux's parent-death signal.
func dieWithHost() *syscall.SysProcAttr { return nil }
