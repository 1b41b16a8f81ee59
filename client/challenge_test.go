package client_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
)

// registry answers as MLflow does for a model with the versions 1 to 9, each of a
// run of its number with these metrics; champion is the version of that alias.
type registry struct {
	champion string // empty: there is none
	metrics  map[string]map[string]float64
	moved    []string // versions that the alias was set to
}

func (g *registry) client(t *testing.T) *client.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		version := func(v string) {
			_, _ = fmt.Fprintf(w, `{"model_version": {"name": "m", "version": %q, "run_id": "%032s", "status": "READY"}}`, v, v)
		}
		switch r.Method + r.URL.Path {
		case "GET/api/2.0/mlflow/model-versions/get":
			version(r.URL.Query().Get("version"))
		case "GET/api/2.0/mlflow/registered-models/alias":
			if g.champion == "" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprint(w, `{"error_code": "INVALID_PARAMETER_VALUE", "message": "Registered model alias champion not found."}`)
				return
			}
			version(g.champion)
		case "POST/api/2.0/mlflow/registered-models/alias":
			g.moved = append(g.moved, "moved")
			_, _ = fmt.Fprint(w, `{}`)
		case "GET/api/2.0/mlflow/runs/get":
			id := r.URL.Query().Get("run_id")
			list := ""
			for key, value := range g.metrics[id[len(id)-1:]] {
				if list != "" {
					list += ","
				}
				list += fmt.Sprintf(`{"key": %q, "value": %v, "timestamp": 1, "step": 0}`, key, value)
			}
			_, _ = fmt.Fprintf(w, `{"run": {"info": {"run_id": %q, "experiment_id": "1", "status": "FINISHED"}, "data": {"metrics": [%s]}}}`, id, list)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	t.Setenv("MLFLOW_TRACKING_URI", server.URL)
	c, err := client.Open(t.Context(), client.WithHome(t.TempDir()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestAVersionIsBetterByTheMarginInTheDirectionThatWasSaid(t *testing.T) {
	g := &registry{champion: "1", metrics: map[string]map[string]float64{
		"1": {"accuracy": 0.8, "loss": 0.3, "cross_entropy": 0.3, "gain": 1},
		"2": {"accuracy": 0.9, "loss": 0.2, "cross_entropy": 0.4, "gain": 2},
	}}
	c := g.client(t)
	for _, tt := range []struct {
		version, metric string
		o               client.ChallengeOptions
		want            bool
	}{
		{"2", "accuracy", client.ChallengeOptions{}, true},
		{"2", "accuracy", client.ChallengeOptions{Margin: 0.1}, true},
		{"2", "accuracy", client.ChallengeOptions{Margin: 0.11}, false},
		{"2", "loss", client.ChallengeOptions{Margin: 0.1}, true},
		{"2", "cross_entropy", client.ChallengeOptions{}, false}, // worse
		{"2", "gain", client.ChallengeOptions{Direction: client.DirectionHigher}, true},
		{"2", "gain", client.ChallengeOptions{Direction: client.DirectionLower}, false},
		{"1", "accuracy", client.ChallengeOptions{}, false}, // than itself
	} {
		got, err := c.Challenge(t.Context(), "m", tt.version, tt.metric, tt.o)
		require.NoError(t, err)
		require.Equal(t, tt.want, got.Better, "%+v", tt)
		require.Equal(t, "1", got.Champion)
	}
	_, err := c.Challenge(t.Context(), "m", "2", "auc", client.ChallengeOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound, "the run lacks the metric")
	g.champion = ""
	first, err := c.Challenge(t.Context(), "m", "2", "accuracy", client.ChallengeOptions{})
	require.NoError(t, err)
	require.True(t, first.Better, "there is no champion")
}

func TestOnlyAWellKnownNameSaysWhatIsBetter(t *testing.T) {
	c := (&registry{metrics: map[string]map[string]float64{"1": {}}}).client(t)
	for _, metric := range []string{"recall@fpr_0.01", "lossless", "gain", "uptime", "loss_ratio", ""} {
		_, err := c.Challenge(t.Context(), "m", "1", metric, client.ChallengeOptions{})
		require.ErrorIs(t, err, mlops.ErrInvalid, metric)
		_, err = client.RetrainOnDrift(client.RetrainOptions{Metric: metric})
		if metric != "" {
			require.ErrorIs(t, err, mlops.ErrInvalid, metric)
		}
	}
	_, err := c.Challenge(t.Context(), "m", "1", "loss", client.ChallengeOptions{Direction: "up"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	for metric, lower := range map[string]bool{"cross_entropy": true, "smape": true, "ece": true, "mase": true, "eval/val_loss": true, "RMSE": true, "train_accuracy": false, "f1": false} {
		g := &registry{metrics: map[string]map[string]float64{"1": {metric: 1}}}
		got, err := g.client(t).Challenge(t.Context(), "m", "1", metric, client.ChallengeOptions{})
		require.NoError(t, err)
		require.Equal(t, lower, got.Lower, metric)
	}
}

func TestAnAliasIsMovedFromWhereItWasSeenOnly(t *testing.T) {
	for _, tt := range []struct {
		at, version string
		o           client.PromoteOptions
		conflict    bool
		moves       int
	}{
		{"3", "4", client.PromoteOptions{}, false, 1},
		{"3", "4", client.PromoteOptions{IfAt: "3", Newer: true}, false, 1},
		{"3", "4", client.PromoteOptions{IfAt: "2"}, true, 0},
		{"5", "4", client.PromoteOptions{Newer: true}, true, 0},
		{"5", "4", client.PromoteOptions{}, false, 1}, // back, as a person may want
		{"4", "4", client.PromoteOptions{IfAt: "3", Newer: true}, false, 0},
		{"3", "4", client.PromoteOptions{IfAt: "3", DryRun: true}, false, 0},
		{"", "4", client.PromoteOptions{IfAt: client.NoVersion, Newer: true}, false, 1},
		{"", "4", client.PromoteOptions{IfAt: "3"}, true, 0},
	} {
		g := &registry{champion: tt.at}
		err := g.client(t).Promote(t.Context(), "m", "champion", tt.version, tt.o)
		if tt.conflict {
			require.ErrorIs(t, err, mlops.ErrConflict, "%+v", tt)
		} else {
			require.NoError(t, err, "%+v", tt)
		}
		require.Len(t, g.moved, tt.moves, "%+v", tt)
	}
}
