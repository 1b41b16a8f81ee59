package airflow

import (
	"testing"

	"github.com/mlops-integration/mlops/internal/zerovalue"
)

func TestZeroValuesGiveErrors(t *testing.T) {
	zerovalue.Check(t, []string{"Client.Close", "PoolsService.SetAll"}, new(Client), DAGsService{}, RunsService{}, TasksService{}, XComsService{}, DecisionsService{}, TaskStateService{},
		AssetStateService{}, AssetsService{}, BackfillsService{}, ConnectionsService{}, VariablesService{}, PoolsService{}, ServerService{}, new(DAG))
}
