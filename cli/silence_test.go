package cli

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestASilentServerIsWaitedForOnceInAWhile(t *testing.T) {
	e := newEnv(nil, &bytes.Buffer{}, &bytes.Buffer{}, commands)
	e.silence = filepath.Join(t.TempDir(), "spool", "silent-1")
	require.Equal(t, answerTimeout, e.answerWithin())
	e.heard(nil, true)
	require.Equal(t, briefly, e.answerWithin(), "the next command knows")
	for _, age := range []time.Duration{silenceLife + time.Second, -time.Hour} {
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(e.silence, at, at))
		require.Equal(t, answerTimeout, e.answerWithin(), "a note %s old, also by a clock that went back, says nothing", age)
		e.heard(nil, true)
		require.Equal(t, briefly, e.answerWithin(), "it is noted once more")
	}
	e.heard(&mlops.Error{Kind: mlops.ErrUnavailable, Status: 503}, false)
	require.NoFileExists(t, e.silence, "an answer is an answer")
	e.heard(nil, true)
	e.heard(nil, false)
	require.Equal(t, answerTimeout, e.answerWithin(), "the server is back")
	e.silence = filepath.Join(filepath.Dir(e.silence), "silent-2")
	require.Equal(t, answerTimeout, e.answerWithin(), "another server's silence is its own")
}

func TestAShellLoopWaitsForASilentServerOnce(t *testing.T) {
	home := t.TempDir()
	t.Setenv("MLOPS_HOME", home)
	t.Chdir(t.TempDir())
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	require.NoError(t, err)
	defer l.Close()
	t.Setenv("MLFLOW_TRACKING_URI", "http://"+l.Addr().String())
	log := func() (took time.Duration, talk string) {
		var stderr bytes.Buffer
		begin := time.Now()
		code := Main(t.Context(), []string{"metric", "log", "-p", "loop", "--run", strings.Repeat("ab", 16), "loss=1"}, nil, &bytes.Buffer{}, &stderr)
		require.Zero(t, code, stderr.String())
		return time.Since(begin), stderr.String()
	}
	took, talk := log()
	require.GreaterOrEqual(t, took, answerTimeout)
	require.Contains(t, talk, "MLflow is slow to answer")
	took, talk = log()
	require.Less(t, took, answerTimeout, "the second call waits as if it did not know")
	require.Contains(t, talk, "wait on this machine")

	addr := l.Addr().String()
	require.NoError(t, l.Close())
	l, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	back := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"run":{"info":{"run_id":"` + strings.Repeat("ab", 16) + `","experiment_id":"0"}}}`))
	}))
	back.Listener = l
	back.Start()
	defer back.Close()
	notes, err := filepath.Glob(filepath.Join(home, "spool", "silent-*"))
	require.NoError(t, err)
	require.Len(t, notes, 1)
	require.Eventually(t, func() bool { // it is listened to only briefly, and the machine may be busy
		log()
		_, err := os.Stat(notes[0])
		return os.IsNotExist(err)
	}, time.Minute, time.Millisecond, "a server that is back is noticed")
}

func TestARunThatIsRefusedDoesNotSayThatItsRecordsWait(t *testing.T) {
	home := t.TempDir()
	t.Setenv("MLOPS_HOME", home)
	t.Chdir(t.TempDir())
	closed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer closed.Close()
	t.Setenv("MLFLOW_TRACKING_URI", closed.URL)
	for _, args := range [][]string{{"run", "start", "-p", "locked"}, {"run", "exec", "-p", "locked", "--", "true"}} {
		var stderr bytes.Buffer
		require.NotZero(t, Main(t.Context(), args, strings.NewReader(""), &bytes.Buffer{}, &stderr))
		require.Contains(t, stderr.String(), "401")
		require.NotContains(t, stderr.String(), " wait", "%v: nothing is left that could", args)
		left, err := filepath.Glob(filepath.Join(home, "spool", "mlflow", "*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
