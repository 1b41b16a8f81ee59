//go:build race

package applesilicon

const raceEnabled = true
