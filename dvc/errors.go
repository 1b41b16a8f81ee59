package dvc

import (
	"fmt"

	"github.com/mlops-integration/mlops"
)

// fail is an error of this package, of the kind given.
func fail(kind error, format string, args ...any) error {
	return &mlops.Error{Kind: kind, Service: "dvc", Message: fmt.Sprintf(format, args...)}
}
