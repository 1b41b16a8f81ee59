package mlflow

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/zerovalue"
)

func TestZeroValuesGiveErrors(t *testing.T) {
	fine := []string{
		// nothing is asked for
		"Client.Datasets", "Client.MetricHistories", "Client.SampledHistories", "Client.TargetExperiment",
		"TracesService.ByID", "TracesService.InfosByID", "TracesService.LinkRun", "TracesService.LogSpans", "ScorersService.Online",
		"Run.LogInputs", "Run.LogMetrics", "Run.LogParams", "Run.LogPoints", "Run.SetTags",
		// nothing is open
		"Client.Close", "Run.Close", "Run.Discard",
	}
	zerovalue.Check(t, fine, new(Client), ModelsService{}, LoggedModelsService{}, TracesService{}, PromptsService{}, ScorersService{},
		EvalDatasetsService{}, UsersService{}, RolesService{}, WebhooksService{}, WorkspacesService{}, new(Run))
}

func TestWhatIsNilIsRefused(t *testing.T) {
	c := faulty(t, Journal{Off: true}, func(string, string) (int, error) { return 200, nil })
	r := startOne(t, c)
	for name, err := range map[string]error{
		"figure":      r.LogFigure(t.Context(), nil, "a.svg"),
		"file system": r.LogFS(t.Context(), nil, "a"),
		"image":       r.LogImage(t.Context(), nil, "a.png"),
		"source":      c.Upload(t.Context(), "mlflow-artifacts:/0/r/artifacts", nil, "a"),
	} {
		require.ErrorIs(t, err, mlops.ErrInvalid, name)
	}
}
