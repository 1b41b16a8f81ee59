package evidently

import (
	"fmt"

	"github.com/mlops-integration/mlops"
)

// invalid is the error of a request that can never succeed as it is.
func invalid(op, format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: op, Message: fmt.Sprintf(format, args...)}
}
