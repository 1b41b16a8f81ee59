package mlflow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAModelWithoutALoggedModelIsLoadedByPython(t *testing.T) {
	s, c := connect(t)
	run, _ := startRun(t, s, c)
	ctx, dir, name := t.Context(), t.TempDir(), s.Name("classic")
	write(t, dir, "model.py", echoModel)
	write(t, dir, "data/factor.json", `{"factor": 3}`)
	server, err := c.Version(ctx)
	require.NoError(t, err)
	m := ModelSpec{Name: name, Aliases: []string{"champion"}, Tags: map[string]string{"stage": "test"},
		Flavors: []Flavor{PyFunc{Code: "model.py", Artifacts: map[string]string{"factor": "data/factor.json"}}}}
	p, err := newPackage(dir, m, server)
	require.NoError(t, err)
	at, err := run.place(ctx)
	require.NoError(t, err)
	v, err := run.logClassic(ctx, at, p, m)
	require.NoError(t, err)
	require.Equal(t, "1", v.Version)
	require.Empty(t, v.ModelID)
	require.NoError(t, run.End(ctx, nil))

	got, err := c.Models.VersionByAlias(ctx, name, "champion")
	require.NoError(t, err)
	require.Equal(t, at.root+"/"+name, got.Source)
	require.Equal(t, "test", got.Tags["stage"])
	to := t.TempDir()
	require.NoError(t, c.DownloadDir(ctx, "models:/"+name+"@champion", "", to))
	b, err := os.ReadFile(filepath.Join(to, "data", "factor.json"))
	require.NoError(t, err)
	require.Equal(t, `{"factor": 3}`, string(b))
	id, _ := run.ID(ctx)
	info, err := c.RunInfo(ctx, id)
	require.NoError(t, err)
	require.Contains(t, info.Tags["mlflow.log-model.history"], `"artifact_path"`)
	if s.Live {
		since(t, s, "2.12", "models from code for Python to load")
		require.Equal(t, "[3, 6] [3, 6]", python(t, s, `
import sys, mlflow
a = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}/1")
b = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}@champion")
print(a.predict([1, 2]), b.predict([1, 2]))`, name))
	}
}
