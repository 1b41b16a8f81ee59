//go:build !race

package applesilicon

const raceEnabled = false
