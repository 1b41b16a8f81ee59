package rayserve_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/rayserve"
)

// The server has done what was asked, and its answer is lost. However often
// that happens, everything is there once, and the call succeeds.
func TestWhatIsDoneThoughItsAnswerIsLostIsDoneOnce(t *testing.T) {
	lose := 0 // answers to writing requests that are to be lost
	var lost []string
	dir := t.TempDir()
	c, s, tracking := open(t, func(o *rayserve.Options) { o.StateDir = dir }, through(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if r.Method == "PUT" && err == nil && lose > 0 {
			lose--
			lost = append(lost, r.URL.Path)
			resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	}))
	name := s.Name("lost")
	register(t, s, name, 10, 20)
	takeDown(t, s, c, name)
	ctx := t.Context()
	count := func() (n int) {
		apps, err := mlops.Collect(c.Applications(ctx))
		require.NoError(t, err)
		for _, a := range apps {
			if strings.HasPrefix(a.Name, name) {
				n++
			}
		}
		return n
	}
	kept := func() string {
		b, err := os.ReadFile(filepath.Join(dir, "serve.json"))
		require.NoError(t, err)
		return string(b)
	}

	app := rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking}
	lose = 1 // of the package, or of the configuration where the package is there
	_, err := c.Deploy(ctx, app, rayserve.DeployOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, count())

	lose = 100 // every one
	app.ModelURI = "models:/" + name + "/2"
	_, err = c.Deploy(ctx, app, rayserve.DeployOptions{})
	require.NoError(t, err, "Ray has it: look before telling that it failed")
	require.Equal(t, 1, count())
	require.Contains(t, kept(), app.ModelURI, "Ray would not have it after its next start")
	x, err := ask(ctx, c, name)
	require.NoError(t, err)
	require.Equal(t, 60.0, x)
	_, err = c.Deploy(ctx, app, rayserve.DeployOptions{})
	require.NoError(t, err, "again")
	require.Equal(t, 1, count())

	require.NoError(t, c.Delete(ctx, name, rayserve.DeleteOptions{}))
	require.Equal(t, 0, count())
	require.NotContains(t, kept(), name)
	require.Greater(t, len(lost), 2, "nothing was lost, so nothing was tested")
}

// A caller may forbid to replace what has the name.
func TestADeploymentThatIsNotAdmittedChangesNothing(t *testing.T) {
	c, s, tracking := open(t)
	name := s.Name("guarded")
	register(t, s, name, 10, 20)
	takeDown(t, s, c, name)
	ctx := t.Context()
	app := rayserve.AppSpec{Name: name, ModelURI: "models:/" + name + "/1", TrackingURI: tracking, Metadata: map[string]string{"model": "a"}}
	refuse := func(now rayserve.App) error {
		require.Equal(t, "models:/"+name+"/1", now.ModelURI)
		require.Equal(t, map[string]string{"model": "a"}, now.Metadata)
		return mlops.ErrConflict
	}
	_, err := c.Deploy(ctx, app, rayserve.DeployOptions{Admit: refuse})
	require.NoError(t, err, "there was nothing to ask about")
	app.ModelURI = "models:/" + name + "/2"
	_, err = c.Deploy(ctx, app, rayserve.DeployOptions{Admit: refuse})
	require.ErrorIs(t, err, mlops.ErrConflict)
	x, err := ask(ctx, c, name)
	require.NoError(t, err)
	require.Equal(t, 30.0, x)
	require.NoError(t, c.Delete(ctx, name, rayserve.DeleteOptions{}))
}
