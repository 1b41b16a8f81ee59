package mlflow

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestWhatIsOnTheServerIsRegistered(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "logged models")
	ctx := t.Context()
	run, _ := startRun(t, s, c)
	id, err := run.ID(ctx)
	require.NoError(t, err)
	name, other := s.Name("wine"), s.Name("prod.wine")

	_, err = c.Models.Register(ctx, name, id, RegisterOptions{})
	require.ErrorIs(t, err, mlops.ErrNotFound, "the run has no model yet")
	_, err = c.Models.Get(ctx, name)
	require.ErrorIs(t, err, mlops.ErrNotFound, "nothing is registered for nothing")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model.py"), []byte(echoModel), 0o644))
	logged, err := run.LogModel(ctx, dir, ModelSpec{LoggedName: "net", Flavors: []Flavor{PyFunc{Code: "model.py"}}})
	require.NoError(t, err)
	v, err := c.Models.Register(ctx, name, run.UID, RegisterOptions{Tags: map[string]string{"a": "b"}, Description: "d", Aliases: []string{"champion"}})
	require.NoError(t, err)
	require.Equal(t, []string{"1", "models:/" + logged.ModelID, logged.ModelID, id}, []string{v.Version, v.Source, v.ModelID, v.RunID})
	v, err = c.Models.VersionByAlias(ctx, name, "champion")
	require.NoError(t, err)
	require.Equal(t, []string{"1", "b", "d"}, []string{v.Version, v.Tags["a"], v.Description})

	require.NoError(t, run.LogText(ctx, "artifact_path: model\n", "out/MLmodel"))
	require.NoError(t, run.Flush(ctx))
	for _, tt := range []struct {
		of, name, version, source string
	}{
		{"runs:/" + id + "/net", name, "2", "models:/" + logged.ModelID},
		{"models:/" + logged.ModelID, name, "3", "models:/" + logged.ModelID},
		{"runs:/" + id + "/out", name, "4", "/" + id + "/artifacts/out"},
		{"models:/" + name + "@champion", other, "1", "models:/" + name + "/1"},
		{"models:/" + name + "/4", other, "2", "models:/" + name + "/4"},
	} {
		v, err := c.Models.Register(ctx, tt.name, tt.of, RegisterOptions{})
		require.NoError(t, err, tt.of)
		require.Equal(t, tt.version, v.Version, tt.of)
		require.Contains(t, v.Source, tt.source)
		require.Equal(t, id, v.RunID)
	}

	again, err := run.LogModel(ctx, dir, ModelSpec{LoggedName: "net", Flavors: []Flavor{PyFunc{Code: "model.py"}}})
	require.NoError(t, err)
	require.NotEqual(t, logged.ModelID, again.ModelID)
	for of, want := range map[string]error{
		id:                                 mlops.ErrInvalid, // two models
		"runs:/" + id + "/nothing":         mlops.ErrNotFound,
		"models:/" + name + "/9":           mlops.ErrNotFound,
		"models:/" + name + "@nobody":      mlops.ErrNotFound,
		"models:/" + name + "/1/model.py":  mlops.ErrInvalid,
		"ftp://example/model":              mlops.ErrUnsupported,
		"00000000000000000000000000000000": mlops.ErrNotFound,
	} {
		_, err := c.Models.Register(ctx, name, of, RegisterOptions{})
		require.ErrorIs(t, err, want, of)
	}
}
