//go:build !linux

package spool

import "testing"

func smallDisk(t *testing.T, _ int) string {
	t.Helper()
	t.Skip("a small disk is mounted on Linux only; the same runs with injected faults")
	return ""
}
