package client_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// Four models whose names differ in case and signs are served beside each
// other. What a name serves changes to another model by DeployOptions.Name only.
func TestEachModelHasADeploymentOfItsOwn(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs a running stack: MLOPS_LIVE=1")
	}
	ctx := t.Context()
	project := fmt.Sprintf("names-%08x", rand.Uint32())
	dir := t.TempDir()
	p, err := client.FromProject(ctx, project, client.In(dir))
	require.NoError(t, err)
	defer p.Close()
	mark := fmt.Sprintf(" %08x", rand.Uint32()) // a blank in each of them
	models := []string{"srv-lin" + mark, "SRV-LIN" + mark, "fraud_model" + mark, "Fraud Model" + mark}

	run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "all"})
	require.NoError(t, err)
	for i, name := range models {
		folder := filepath.Join(dir, fmt.Sprint("m", i))
		require.NoError(t, os.Mkdir(folder, 0o755))
		code := fmt.Sprintf("import mlflow\n\n\nclass M(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input, params=None):\n        return [%d] * len(model_input)\n\n\nmlflow.models.set_model(M())\n", i)
		require.NoError(t, os.WriteFile(filepath.Join(folder, "model.py"), []byte(code), 0o600))
		_, err := run.LogModel(ctx, folder, mlflow.ModelSpec{Name: name, Flavors: []mlflow.Flavor{mlflow.PyFunc{Code: "model.py"}}, Venv: filepath.Join(os.Getenv("MLOPS_HOME"), "venvs", "ray")})
		require.NoError(t, err)
	}
	require.NoError(t, run.End(ctx, nil))
	t.Cleanup(func() {
		p, err := client.FromProject(context.WithoutCancel(ctx), project, client.In(dir))
		require.NoError(t, err)
		defer p.Close()
		mine, err := mlops.Collect(p.Deployments(context.WithoutCancel(ctx)))
		require.NoError(t, err)
		for _, a := range mine {
			require.NoError(t, p.Undeploy(context.WithoutCancel(ctx), a.Name))
		}
	})

	var g errgroup.Group
	for _, name := range models {
		g.Go(func() error {
			_, err := p.Deploy(ctx, name+"/1", client.DeployOptions{})
			return err
		})
	}
	require.NoError(t, g.Wait())
	mine, err := mlops.Collect(p.Deployments(ctx))
	require.NoError(t, err)
	require.Len(t, mine, len(models))
	rows := rayserve.DataframeSplit{Columns: []string{"x"}, Data: [][]any{{1}}}
	served := func(name string) float64 {
		t.Helper()
		out, err := p.Predict(ctx, name, rows)
		require.NoError(t, err)
		got, err := out.Floats()
		require.NoError(t, err)
		require.Len(t, got, 1)
		return got[0]
	}
	for i, name := range models {
		require.Equal(t, float64(i), served(name), name)
	}
	for _, a := range mine {
		require.Empty(t, a.TrackingURI, "replicas have the address of the stack's MLflow from Ray's environment")
		require.Equal(t, models[int(served(a.Name))], a.Metadata["mlops.model"])
	}

	_, err = p.Deploy(ctx, models[1]+"/1", client.DeployOptions{Name: "Front Door"})
	require.NoError(t, err)
	require.Equal(t, 1.0, served("Front Door"))
	_, err = p.Deploy(ctx, models[2]+"/1", client.DeployOptions{Name: "Front Door"})
	require.NoError(t, err, "the name was given: that is the wish to replace it")
	require.Equal(t, 2.0, served("Front Door"))
	_, err = p.Deploy(ctx, models[3]+"/1", client.DeployOptions{Name: models[0]})
	require.NoError(t, err)
	require.Equal(t, 3.0, served(models[0]))
	_, err = p.Deploy(ctx, models[0]+"/1", client.DeployOptions{})
	require.ErrorIs(t, err, mlops.ErrConflict, "it serves another model now")
	require.ErrorContains(t, err, models[3])
	require.Equal(t, 3.0, served(models[0]), "and still does")
	require.NoError(t, p.Undeploy(ctx, models[0]))
	_, err = p.Predict(ctx, models[0], rows)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.Equal(t, 1.0, served(models[1]), "another model's deployment is not its own in lower case")
}

// Deployments of an earlier version, which folded names to lower case, keep
// their name and URL.
func TestADeploymentThatStandsKeepsItsName(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs a running stack: MLOPS_LIVE=1")
	}
	ctx := t.Context()
	project := fmt.Sprintf("stands-%08x", rand.Uint32())
	dir := t.TempDir()
	p, err := client.FromProject(ctx, project, client.In(dir))
	require.NoError(t, err)
	defer p.Close()
	model := fmt.Sprintf("Old-%08x", rand.Uint32())
	old := rayserve.AppSpec{
		Name: project + ".old" + model[3:], RoutePrefix: "/" + project + "/old" + model[3:], ModelURI: "models:/" + model + "/1",
		Metadata: map[string]string{"mlops.project": project, "mlops.model": model, "mlops.model_version": "1"},
	}
	folder := filepath.Join(dir, "m")
	require.NoError(t, os.Mkdir(folder, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "model.py"), []byte(echoModel), 0o600))
	run, err := p.StartRun(ctx, mlflow.RunOptions{})
	require.NoError(t, err)
	for range 2 {
		_, err = run.LogModel(ctx, folder, mlflow.ModelSpec{Name: model, Flavors: []mlflow.Flavor{mlflow.PyFunc{Code: "model.py"}}, Venv: filepath.Join(os.Getenv("MLOPS_HOME"), "venvs", "ray")})
		require.NoError(t, err)
	}
	require.NoError(t, run.End(ctx, nil))
	_, err = p.Serve.Deploy(ctx, old, rayserve.DeployOptions{})
	require.NoError(t, err)
	a, err := p.Deploy(ctx, model+"/2", client.DeployOptions{})
	require.NoError(t, err)
	require.Equal(t, old.Name, a.Name)
	require.Equal(t, old.RoutePrefix, a.RoutePrefix)
	_, err = p.Predict(ctx, model, rayserve.DataframeSplit{Columns: []string{"x"}, Data: [][]any{{1.5}}})
	require.NoError(t, err, "it answers to its model's name")
	require.NoError(t, p.Undeploy(ctx, model))
	require.ErrorIs(t, p.Undeploy(ctx, model), mlops.ErrNotFound)
}
