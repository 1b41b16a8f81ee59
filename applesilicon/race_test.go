//go:build race && applefake

package applesilicon

const raceEnabled = true
