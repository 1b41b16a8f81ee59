package dvc

import "github.com/mlops-integration/mlops/dvc/internal/fault"

// fail is an error of this package, of the kind given.
func fail(kind error, format string, args ...any) error { return fault.New(kind, format, args...) }
