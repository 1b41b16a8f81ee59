package dvc

import (
	"testing"

	"github.com/mlops-integration/mlops/internal/zerovalue"
)

func TestZeroValuesGiveErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	zerovalue.Check(t, []string{"Source.Close"}, new(Repo), new(Source), new(FS))
}
