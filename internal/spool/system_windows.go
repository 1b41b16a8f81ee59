package spool

// removeLocked: a file that is open cannot be removed.
const removeLocked = false
