package cli

import (
	"encoding/json"
	"strings"
)

func joined(s []string) string { return strings.Join(s, ",") }

// lastLine is where Python says what went wrong.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// oneJSON is a value as JSON on one line.
func oneJSON(v any) string {
	b, _ := json.Marshal(v) // it came out of JSON
	return string(b)
}
