// Package fault makes the errors of package dvc and of the packages below it.
package fault

import (
	"fmt"
	"regexp"

	"github.com/mlops-integration/mlops"
)

// New returns an error of DVC's, of the given kind.
func New(kind error, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Message: fmt.Sprintf(format, args...)}
}

// markers are the lines that git leaves in a file that it could not merge.
var markers = regexp.MustCompile(`(?m)^(<<<<<<<|>>>>>>>) `)

// Unmerged reports whether a text holds the conflict markers of a git merge.
func Unmerged(text []byte) bool { return markers.Match(text) }
