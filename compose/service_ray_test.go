package compose

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What Ray binds to all interfaces without a setting is for the loopback
// interface. The module that does it is replaced by one of the same name.
func TestRaysOwnPortsAreForTheLoopbackInterface(t *testing.T) {
	p, err := findPython(t.Context())
	if err != nil {
		t.Skip("no Python on this machine: ", err)
	}
	s := lightSite(t)
	require.NoError(t, rayPrepare(t.Context(), s))
	lib := t.TempDir()
	for file, text := range map[string]string{
		"ray/__init__.py":          "",
		"ray/_common/__init__.py":  "",
		"ray/_common/tls_utils.py": "def add_port_to_grpc_server(server, address):\n    return (server, address)\n",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(lib, file)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(lib, file), []byte(text), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), p.Path, "-c", `
from ray._common.tls_utils import add_port_to_grpc_server as add
print(add("server", "[::]:0"), add("server", "127.0.0.1:7"))`)
	cmd.Env = []string{"PYTHONPATH=" + s.data("ray-hook") + string(os.PathListSeparator) + lib, "PYTHONDONTWRITEBYTECODE=1"}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "('server', '127.0.0.1:0') ('server', '127.0.0.1:7')\n", string(out))
}

func TestAHeadWithoutALivingNodeIsNotReady(t *testing.T) {
	s := lightSite(t)
	token, _, err := s.secret("ray")
	require.NoError(t, err)
	version, err := lockedVersion("ray", "ray")
	require.NoError(t, err)
	state := "DEAD"
	at(t, s, "ray/dashboard", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer "+string(token):
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/version":
			_, _ = w.Write([]byte(`{"ray_version":"` + version + `"}`))
		default:
			_, _ = w.Write([]byte(`{"data":{"summary":[{"raylet":{"state":"` + state + `"}}]}}`))
		}
	}))
	require.ErrorContains(t, rayReady(t.Context(), s), "the node is not alive yet")
	state = "ALIVE"
	require.NoError(t, rayReady(t.Context(), s))
	require.NoError(t, rayReapply(t.Context(), s), "nothing was deployed before")
}
