package compose

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/agent"
)

func TestTheAgentIsOurOwnProgramOnLoopback(t *testing.T) {
	s := &site{home: t.TempDir(), command: "/opt/bin/mlopsctl", ports: map[string]int{"agent/http": 20110}, log: t.Output()}
	sv := agentService()
	require.Equal(t, "agent", sv.name)
	require.Equal(t, []string{"mlflow"}, sv.after)
	c, err := sv.command(s)
	require.NoError(t, err)
	require.Equal(t, command{path: "/opt/bin/mlopsctl", args: []string{"agent", "--listen", "127.0.0.1:20110"}, env: []string{"MLOPS_HOME=" + s.home}, dir: s.home}, c,
		"it has to find the journals of this home, whatever its own surroundings say")
}

func TestOnlyTheAgentOfThisHomeIsReady(t *testing.T) {
	home := t.TempDir()
	for _, tt := range []struct {
		name   string
		answer http.Handler
		want   string // of the error; empty: ready
	}{
		{"ours", agent.New(agent.Options{Home: home}), ""},
		{"that of another home", agent.New(agent.Options{Home: t.TempDir()}), "that is not our agent"},
		{"something else with JSON", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = json.NewEncoder(w).Encode(map[string]string{"name": "other", "home": home})
		}), `is "other" of`},
		{"something with a page", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }), "/health"},
		{"something without /health", http.NotFoundHandler(), "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(tt.answer)
			t.Cleanup(srv.Close)
			u, err := url.Parse(srv.URL)
			require.NoError(t, err)
			port, err := strconv.Atoi(u.Port())
			require.NoError(t, err)
			s := &site{home: home, command: "mlopsctl", ports: map[string]int{"agent/http": port}, log: t.Output()}
			err = agentService().ready(t.Context(), s)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestTheAgentIsInEveryStackOfMlopsctl(t *testing.T) {
	for _, light := range []bool{true, false} {
		last := func(command string) string {
			all := (&Stack{base: base{command: command}}).recipes(light)
			return all[len(all)-1].name
		}
		require.Equal(t, "agent", last("/opt/bin/mlopsctl"))
		require.NotEqual(t, "agent", last(""), "another program has no agent to start")
	}
}
