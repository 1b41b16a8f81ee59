package agent

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/agent/internal/heat"
	"github.com/mlops-integration/mlops/agent/internal/shares"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// stackAway is the home of a stack whose servers do not answer.
func stackAway(t *testing.T) (home string, options []client.Option) {
	t.Helper()
	for _, v := range []string{"MLOPS_AIRFLOW_URL", "MLOPS_MLFLOW_URI", "MLFLOW_TRACKING_URI"} {
		t.Setenv(v, "")
	}
	home = filepath.Join(t.TempDir(), "home")
	secret := filepath.Join(home, "secrets", "reader")
	require.NoError(t, os.MkdirAll(filepath.Dir(secret), 0o700))
	require.NoError(t, os.WriteFile(secret, []byte("of the reader"), 0o600))
	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: home, Endpoints: map[string]stackfile.Endpoint{
		stackfile.Airflow: {URL: "http://127.0.0.1:9"}, stackfile.MLflow: {URL: "http://127.0.0.1:9"},
		stackfile.AirflowReader: {URL: "postgresql://127.0.0.1:9/airflow", Username: "mlops_reader", SecretFile: secret},
	}}))
	return home, []client.Option{client.In(t.TempDir())}
}

// lines is what a logger wrote, while it writes.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestAnAgentWhoseAirflowIsAwaySaysSoOnceAndGoesOn(t *testing.T) {
	home, options := stackAway(t)
	said := &lines{}
	a := New(Options{Home: home, Client: options, Every: time.Millisecond, Logger: slog.New(slog.NewTextHandler(said, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { a.divide(ctx); close(over) }()
	require.Eventually(t, func() bool { return bytes.Contains([]byte(said.String()), []byte("while the machine is divided")) }, time.Minute, time.Millisecond)
	cancel()
	<-over
	require.NotContains(t, said.String(), "of the reader", "a password")
}

func TestAKeeperOfTheSameServerKeepsItsTurns(t *testing.T) {
	home, options := stackAway(t)
	t.Setenv("MLOPS_HEAT_FILE", "/run/heat")
	t.Setenv("MLOPS_HEAT_COMMAND", "/bin/heat")
	a := New(Options{Home: home, Client: options})
	c, err := client.Open(t.Context(), a.o.options()...)
	require.NoError(t, err)
	defer c.Close()
	k := a.keeper(c, nil)
	require.True(t, k.Own)
	require.Contains(t, k.Queue.Address, "mlops_reader:of%20the%20reader@127.0.0.1:9")
	require.Len(t, k.Judge.(heat.Judge), 4, "Linux, its counters of energy, the file and the command")
	require.Same(t, k, a.keeper(c, k))
	_, err = k.Quotas(t.Context())
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	a.waited(time.Second)

	require.False(t, moved(t.Context(), c, a.o.options()))
	require.NoError(t, stackfile.Write(stackfile.Stack{Runtime: "process", Home: home, Endpoints: map[string]stackfile.Endpoint{stackfile.Airflow: {URL: "http://127.0.0.1:10"}}}))
	require.True(t, moved(t.Context(), c, a.o.options()), "the stack's Airflow has another port")
	require.Nil(t, queue(c), "it has no reader now")
}

func TestPoolsAreLookedAtAsOftenAsTheyMatter(t *testing.T) {
	for _, tt := range []struct {
		of   shares.State
		want time.Duration
	}{
		{shares.State{}, lookRest},
		{shares.State{Taken: 1}, lookCalm},
		{shares.State{Taken: 1, Ready: 1}, lookBusy},
		{shares.State{Ready: 1, Took: 300 * time.Millisecond}, 1200 * time.Millisecond},
		{shares.State{Ready: 1, Took: time.Minute}, lookSlow},
	} {
		require.Equal(t, tt.want, interval(tt.of), "%+v", tt.of)
	}
}
