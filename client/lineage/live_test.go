package lineage_test

import (
	"context"
	md5sum "crypto/md5"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/client/lineage"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
)

const model = `import mlflow


class M(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [1] * len(model_input)


mlflow.models.set_model(M())
`

// TestAThingIsFollowedFromItsDataToItsDrift goes through all tools, from a folder
// that has nothing of the project.
func TestAThingIsFollowedFromItsDataToItsDrift(t *testing.T) {
	if !cassette.Live() {
		t.Skip("needs a running stack: MLOPS_LIVE=1")
	}
	ctx := t.Context()
	name := fmt.Sprintf("lineage-%08x", rand.Uint32())
	front := "front-" + name[8:]
	dir := t.TempDir()
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "user.name=suite", "-c", "user.email=suite@example.com"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return strings.TrimSpace(string(out))
	}
	write := func(file, text string) string {
		path := filepath.Join(dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	git("init", "-q")
	var rows strings.Builder
	for i := range 40 {
		fmt.Fprintf(&rows, "%d\n", i%7)
	}
	write("train.csv", fmt.Sprintf("x\n%d\n%s", rand.Uint32(), rows.String())) // data that no other run has
	write(".gitignore", "/model\n/now.csv\n")
	now := write("now.csv", "x\n"+strings.ReplaceAll(rows.String(), "6", "60"))
	p, err := client.FromProject(ctx, name, client.In(dir))
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.Data.Init(ctx))
	out, err := p.Data.Add(ctx, "train.csv")
	require.NoError(t, err)
	md5 := out[0].Hash
	git("add", "--all")
	git("commit", "-q", "-m", "data")
	commit := git("rev-parse", "HEAD")

	t.Setenv("AIRFLOW_CTX_DAG_ID", name+".train")
	t.Setenv("AIRFLOW_CTX_DAG_RUN_ID", "manual__1")
	t.Setenv("AIRFLOW_CTX_TASK_ID", "train")
	run, err := p.StartRun(ctx, mlflow.RunOptions{Name: "one", SampleEvery: -1, Tags: client.CommandTags([]string{"python", "train.py"})})
	require.NoError(t, err)
	require.NoError(t, p.LogData(ctx, run, "train.csv"))
	write("model/model.py", model)
	v, err := run.LogModel(ctx, filepath.Join(dir, "model"), mlflow.ModelSpec{Name: name, Aliases: []string{"champion"}, Flavors: []mlflow.Flavor{mlflow.PyFunc{Code: "model.py"}}, Venv: filepath.Join(os.Getenv("MLOPS_HOME"), "venvs", "ray")})
	require.NoError(t, err)
	require.NoError(t, run.End(ctx, nil))
	id, err := run.ID(ctx)
	require.NoError(t, err)
	app, err := p.Deploy(ctx, name+"@champion", client.DeployOptions{Name: front})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Undeploy(context.WithoutCancel(ctx), front)) }()
	about, err := p.About(ctx, front)
	require.NoError(t, err)
	require.Equal(t, app.Name, about["mlops.deployment"])
	_, err = p.About(ctx, "nothing")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	report, err := p.Drift(ctx, "train.csv", now, evidently.DriftOptions{Metadata: about})
	require.NoError(t, err)
	require.NoError(t, report.Unsent)

	c, err := client.Open(ctx, client.In(t.TempDir()))
	require.NoError(t, err)
	defer c.Close()
	trace := func(thing string, o lineage.Options) lineage.Graph {
		t.Helper()
		g, err := lineage.Trace(ctx, c, thing, o)
		require.NoError(t, err, thing)
		return g
	}
	names := func(g lineage.Graph) (out []string) {
		for _, n := range g.Nodes {
			if n.Kind != lineage.KindModel {
				out = append(out, n.Ref())
			}
		}
		return out
	}
	kept := []string{"commit " + commit, "data " + md5, "dag_run " + name + ".train/manual__1", "run " + id}
	served := []string{"model_version " + name + "/1", "alias " + name + "@champion", "deployment " + app.Name, "drift " + report.SnapshotID}
	all := append(append([]string{}, kept...), served...)
	gaps := []lineage.Gap{{Node: kept[2], Missing: "it is gone"}} // no task of Airflow's made it
	for _, thing := range []string{name + "/1", name + "@champion", "models:/" + name + "/1", id} {
		g := trace(thing, lineage.Options{})
		require.Equal(t, all, names(g), thing)
		require.Equal(t, gaps, g.Gaps, thing)
	}
	require.Equal(t, append(append([]string{}, kept[1]), append([]string{kept[3]}, served...)...), names(trace(md5, lineage.Options{})), "data have nothing before them")
	require.Equal(t, append(append([]string{}, kept[0]), append([]string{kept[3]}, served...)...), names(trace(commit, lineage.Options{Forward: true})))
	require.Equal(t, append(append([]string{}, kept[2:]...), served...), names(trace(name+".train/manual__1", lineage.Options{Forward: true})))
	for _, thing := range []string{app.Name, front, app.URL, app.URL + "/invocations?x=1"} {
		require.Equal(t, all, names(trace(thing, lineage.Options{})), thing)
	}
	require.Equal(t, []string{"deployment " + app.Name, "drift " + report.SnapshotID}, names(trace(app.URL, lineage.Options{Forward: true})))
	compared, err := os.ReadFile(now)
	require.NoError(t, err)
	before := slices.DeleteFunc(slices.Clone(all), func(ref string) bool { return strings.HasPrefix(ref, "alias ") }) // an alias of now did not make it
	require.ElementsMatch(t, append(before, fmt.Sprintf("data %x", md5sum.Sum(compared))), names(trace(report.SnapshotID, lineage.Options{Back: true})))
	fromPath, err := lineage.Trace(ctx, p.Client, "train.csv", lineage.Options{})
	require.NoError(t, err)
	require.Equal(t, "data "+md5, fromPath.Start)

	g := trace(app.URL, lineage.Options{Back: true})
	for _, e := range g.Edges {
		require.NotEmpty(t, e.Source)
	}
	ran, ok := g.Node("run " + id)
	require.True(t, ok)
	require.Equal(t, "python train.py", ran.Facts["command"])

	for _, nothing := range []string{"nothing", name + "/7", name + "@nobody", "http://127.0.0.1:1/nothing", strings.Repeat("0", 32), strings.Repeat("0", 40), strings.Repeat("0", 32) + ".dir", strings.Repeat("x", 300)} {
		_, err := lineage.Trace(ctx, c, nothing, lineage.Options{})
		require.ErrorIs(t, err, mlops.ErrNotFound, nothing)
		require.Less(t, len(err.Error()), 500)
	}

	// What is deleted afterwards is a gap of its own, and the rest stays.
	other, err := c.MLflow.Models.CreateVersion(ctx, name, v.Source, mlflow.ModelVersionOptions{RunID: id, ModelID: strings.TrimPrefix(v.Source, "models:/")})
	require.NoError(t, err)
	require.NoError(t, c.MLflow.Models.SetAlias(ctx, name, "champion", other.Version))
	g = trace(app.URL, lineage.Options{Back: true})
	require.Contains(t, g.Gaps, lineage.Gap{Node: "deployment " + app.Name, Missing: "the alias champion, by which it was deployed, names version " + other.Version + " now"})
	require.NoError(t, c.MLflow.DeleteRun(ctx, id))
	g = trace(app.URL, lineage.Options{Back: true})
	gone, ok := g.Node("run " + id)
	require.True(t, ok)
	require.True(t, gone.Gone)
	require.Empty(t, g.Of(lineage.KindData))
}
