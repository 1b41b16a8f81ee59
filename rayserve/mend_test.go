package rayserve

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What version 0 kept: the address that MLflow had then is in the arguments.
const keptByForm0 = `{"name":"demo.lin","route_prefix":"/demo/lin","import_path":"mlops_serve.app:build",
 "runtime_env":{"working_dir":"gcs://_ray_pkg_1a73dad102ef2b3532ed170141bfe95a.zip","env_vars":{"A":"b","MLFLOW_TRACKING_URI":"http://127.0.0.1:5000"}},
 "args":{"model_uri":"models:/lin/1","tracking_uri":%q,"metadata":{"mlops.model":"lin"},"future":{"x":1.0}},
 "deployments":[{"name":"model","num_replicas":2,"ray_actor_options":{"num_cpus":0.1}}]}`

func TestAKeptAddressOfTheStacksOwnMLflowIsNotGivenToRayAgain(t *testing.T) {
	const own = "http://127.0.0.1:5005"
	pkg, _, err := builder()
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		own, kept string
		form      int
		want      string
	}{
		"an earlier port of it":           {own, "http://127.0.0.1:5000", 0, ""},
		"by another name":                 {own, "http://localhost:5000", 0, ""},
		"of IPv6":                         {own, "http://[::1]:5000/", 0, ""},
		"its port of now":                 {own, own, 0, ""},
		"named by a client that knew not": {own, "http://localhost:5005", 1, ""},
		"another server of this machine":  {own, "http://127.0.0.1:9000", 1, "http://127.0.0.1:9000"},
		"a server elsewhere":              {own, "https://mlflow.example.com", 0, "https://mlflow.example.com"},
		"a name that begins like ours":    {own, "http://127.0.0.1.example.com:5000", 0, "http://127.0.0.1.example.com:5000"},
		"a Ray of others":                 {"", "http://127.0.0.1:5000", 0, "http://127.0.0.1:5000"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(Options{URL: "http://127.0.0.1:8265", ServeURL: "http://127.0.0.1:8003", MLflow: tt.own, StateDir: t.TempDir()})
			require.NoError(t, err)
			raw := edited(json.RawMessage(fmt.Sprintf(keptByForm0, tt.kept)), func(app object) {
				app["args"] = edited(app["args"], func(o object) { o.set("form", tt.form) })
			})
			others := json.RawMessage(`{"name":"b","import_path":"their.app:x","args":{"tracking_uri":"http://127.0.0.1:5000"}}`)
			k, err := c.mended(keptApps{Config: desired{
				HTTPOptions:  json.RawMessage(`{"host":"127.0.0.1","port":8001,"root_path":"/x"}`),
				Applications: []json.RawMessage{raw, others},
			}})
			require.NoError(t, err)
			require.JSONEq(t, `{"host":"127.0.0.1","port":8003,"root_path":"/x"}`, string(k.Config.HTTPOptions),
				"the port of an earlier start may be a stranger's now")
			require.Equal(t, string(others), string(k.Config.Applications[1]), "the applications of others are theirs")

			got := k.Config.Applications[0]
			args := argsOf(got)
			require.Equal(t, tt.want, args.TrackingURI)
			require.Equal(t, form, args.Form)
			require.NotContains(t, string(got), "MLFLOW_TRACKING_URI", "it would outdo Ray's environment")
			require.Contains(t, string(got), `"future":{"x":1.0}`, "what a later version wrote stays")
			require.Contains(t, string(got), `"num_replicas":2`)
			require.Equal(t, []string{pkg}, keptApps{Config: desired{Applications: []json.RawMessage{got}}}.packages(),
				"the kept builder knows nothing of bound credentials")
			require.FileExists(t, filepath.Join(c.opt.StateDir, "packages", pkg))
			again, err := c.mended(k)
			require.NoError(t, err)
			require.JSONEq(t, string(got), string(again.Config.Applications[0]))
		})
	}
}

func TestNothingKeptIsNothingToMend(t *testing.T) {
	c := clientIn(t, t.TempDir())
	k, err := c.mended(keptApps{})
	require.NoError(t, err)
	require.Equal(t, keptApps{}, k)
	entries, err := os.ReadDir(c.opt.StateDir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestAClientThatNewDidNotMakeGivesErrors(t *testing.T) {
	ctx := t.Context()
	for name, c := range map[string]*Client{"nil": nil, "zero": {}} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Version(ctx)
			require.ErrorContains(t, err, "rayserve.New")
			_, err = c.Application(ctx, "a")
			require.ErrorContains(t, err, "rayserve.New")
			for _, err := range c.Applications(ctx) {
				require.ErrorContains(t, err, "rayserve.New")
			}
			_, err = c.Returned(ctx)
			require.ErrorContains(t, err, "rayserve.New")
			_, err = c.Deploy(ctx, AppSpec{}, DeployOptions{})
			require.ErrorContains(t, err, "rayserve.New")
			require.ErrorContains(t, c.Delete(ctx, "a", DeleteOptions{}), "rayserve.New")
			_, err = c.Invoke(ctx, "a", Inputs{})
			require.ErrorContains(t, err, "rayserve.New")
			require.ErrorContains(t, Reapply(ctx, c), "rayserve.New")
		})
	}
	c := clientIn(t, t.TempDir())
	for _, in := range []Input{nil, (*DataframeSplit)(nil), (*Body)(nil)} {
		_, err := c.Invoke(ctx, "a", in)
		require.ErrorContains(t, err, "nothing was given")
	}
	_, err := c.Deploy(ctx, AppSpec{}, DeployOptions{})
	require.ErrorContains(t, err, "application name")
	require.Error(t, Prediction{}.Decode(nil))
}
