package rayserve

import (
	"testing"

	"github.com/mlops-integration/mlops/internal/zerovalue"
)

func TestZeroValuesGiveErrors(t *testing.T) {
	zerovalue.Check(t, []string{"Client.Close"}, new(Client))
}
