package main

import "syscall"

// dieWithParent ends a child with this process, also when it panics.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
