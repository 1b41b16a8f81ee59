package cli

import "strings"

func joined(s []string) string { return strings.Join(s, ",") }

// lastLine is where Python says what went wrong.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
