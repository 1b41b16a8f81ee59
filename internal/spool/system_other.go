//go:build !windows

package spool

// removeLocked: a lock file can be removed by its holder.
const removeLocked = true
