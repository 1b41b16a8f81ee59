package evidently

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// strange is a process that misbehaves in the way that the request's name says.
// Its number comes back as the number of reference rows.
const strange = `
import json, os, sys, time
print(json.dumps({"id": 0}), flush=True)
for line in sys.stdin:
    r = json.loads(line)
    n = r["name"]
    if n == "crash":
        print("a warning", "boom", sep="\n", file=sys.stderr, flush=True)
        os._exit(7)
    if n == "bye":
        sys.exit(0)
    if n == "junk":
        print("Downloading data", flush=True)
    if n == "ready":
        print(json.dumps({"id": 0}), flush=True)
    if n == "turn":
        print(json.dumps({"id": r["id"] + 1, "result": {}}), flush=True)
    if n == "nothing":
        print(json.dumps({"id": r["id"]}), flush=True)
    if n == "half":
        sys.stdout.write('{"id":'); sys.stdout.flush(); os._exit(0)
    if n == "hang":
        open(r["reference"] + ".hangs", "w").close()
        time.sleep(3600)
    if n == "raise":
        print(json.dumps({"id": r["id"], "error": {"kind": "failed", "message": "KeyError: 'x'"}}), flush=True)
        continue
    print(json.dumps({"id": r["id"], "rss": 5 << 30 if n == "fat" else 1, "rows": [os.getpid(), 0],
        "columns": [], "skipped": [], "snapshot": {"request": r}, "result": RESULT}), flush=True)
`

// strangeRunner runs that process with whatever Python 3 there is.
func strangeRunner(t *testing.T) (*Runner, string) {
	t.Helper()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("there is no python3: how the runner bears a misbehaving process is not tested")
	}
	r := newRunner(t, RunnerOptions{Python: python})
	r.script = strings.Replace(strange, "RESULT", result("x", "ks", "0.5", "SUCCESS", "SUCCESS"), 1)
	data := filepath.Join(t.TempDir(), "a.csv")
	require.NoError(t, os.WriteFile(data, []byte("x\n1\n"), 0o644))
	return r, data
}

func TestARunnerOutlivesItsProcess(t *testing.T) {
	r, data := strangeRunner(t)
	ask := func(name string) (int, error) {
		rep, err := r.Drift(t.Context(), data, data, DriftOptions{Name: name})
		return rep.ReferenceRows, err
	}
	before, err := ask("well")
	require.NoError(t, err)
	again, err := ask("well")
	require.NoError(t, err)
	require.Equal(t, before, again, "one process serves both")

	for _, tt := range []struct{ name, code, want string }{
		{"crash", CodeCrashed, "evidently: Drift: the Python process ended: exit status 7: boom (worker_crashed)"},
		{"bye", CodeCrashed, "evidently: Drift: the Python process ended: exit status 0 (worker_crashed)"},
		{"half", CodeCrashed, "evidently: Drift: the Python process ended: exit status 0 (worker_crashed)"},
		{"junk", CodeJunk, `evidently: Drift: the Python process answered no JSON: "Downloading data\n" (worker_junk)`},
		{"ready", CodeJunk, `evidently: Drift: the Python process answered out of turn: "{\"id\": 0}\n" (worker_junk)`},
		{"turn", CodeJunk, ""},
		{"nothing", CodeJunk, ""},
	} {
		_, err := ask(tt.name)
		require.ErrorIs(t, err, mlops.ErrUnavailable, tt.name)
		e, _ := errors.AsType[*mlops.Error](err)
		require.Equal(t, tt.code, e.Code, "%s: %v", tt.name, err)
		if tt.want != "" {
			require.EqualError(t, err, tt.want)
		}
		after, err := ask("well")
		require.NoError(t, err, "after %s", tt.name)
		require.NotEqual(t, before, after, "after %s: a new process", tt.name)
		before = after
	}
	_, err = ask("raise")
	require.EqualError(t, err, "evidently: Drift: KeyError: 'x' (worker_failed)")
	after, err := ask("well")
	require.NoError(t, err)
	require.Equal(t, before, after, "an exception costs no process")
}

func TestAProcessThatGrewTooLargeIsReplacedAfterItsAnswer(t *testing.T) {
	r, data := strangeRunner(t)
	fat, err := r.Drift(t.Context(), data, data, DriftOptions{Name: "fat"})
	require.NoError(t, err)
	thin, err := r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
	require.NotEqual(t, fat.ReferenceRows, thin.ReferenceRows)
}

func TestAProcessThatDiedBetweenCallsIsNoticed(t *testing.T) {
	r, data := strangeRunner(t)
	_, err := r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
	require.NoError(t, r.worker.cmd.Process.Kill())
	<-r.worker.done
	_, err = r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
}

func TestADoneContextEndsTheProcess(t *testing.T) {
	r, data := strangeRunner(t)
	_, err := r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
	w := r.worker
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = r.Drift(ctx, data, data, DriftOptions{Name: "hang"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	e, _ := errors.AsType[*mlops.Error](err)
	require.Equal(t, CodeStopped, e.Code)
	require.True(t, w.hasEnded(), "the process is still there")
	_, err = r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
}

func TestWaitingForATurnEndsWithTheContextAndHarmsNobody(t *testing.T) {
	r, data := strangeRunner(t)
	<-r.turn // another call is at it
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Drift(ctx, data, data, DriftOptions{})
	require.ErrorIs(t, err, context.Canceled)
	r.turn <- struct{}{}
	_, err = r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
}

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	r, data := strangeRunner(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := string(rune('A' + i))
			rep, err := r.Drift(t.Context(), data, data, DriftOptions{Name: name, Tags: []string{name}})
			if err != nil {
				t.Error(err)
				return
			}
			if !strings.Contains(string(rep.Snapshot), `"name": "`+name+`"`) {
				t.Errorf("%s got %s", name, rep.Snapshot)
			}
		})
	}
	wg.Wait()
}

func TestCloseEndsACallUnderWay(t *testing.T) {
	r, data := strangeRunner(t)
	failed := make(chan error, 1)
	go func() {
		_, err := r.Drift(t.Context(), data, data, DriftOptions{Name: "hang"})
		failed <- err
	}()
	waitFor(t, func() bool { _, err := os.Stat(data + ".hangs"); return err == nil })
	require.NoError(t, r.Close())
	err := <-failed
	e, ok := errors.AsType[*mlops.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, CodeStopped, e.Code)
	require.NoError(t, r.Close())
	_, err = r.Drift(t.Context(), data, data, DriftOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
}

// waitFor polls until ok, at most until the test's time is up.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the test ended first")
		}
	}
}

func TestAnInterpreterWithoutEvidentlyIsNamed(t *testing.T) {
	r, data := strangeRunner(t)
	r.script = strings.Replace(runnerScript, "import evidently\n", "import evidently_that_is_not_here\n", 1)
	_, err := r.Drift(t.Context(), data, data, DriftOptions{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.EqualError(t, err, "evidently: Drift: Python "+r.opt.Python+" cannot load Evidently: ModuleNotFoundError: No module named 'evidently_that_is_not_here'")
}

func TestTheProcessIsToldNotToCallHome(t *testing.T) {
	r, data := strangeRunner(t)
	t.Setenv("DO_NOT_TRACK", "")
	r.opt.Env = []string{"A=b"}
	r.script = strings.Replace(r.script, "os.getpid()", `os.environ["DO_NOT_TRACK"] == "1" and os.environ["A"] == "b" and 4711`, 1)
	rep, err := r.Drift(t.Context(), data, data, DriftOptions{})
	require.NoError(t, err)
	require.Equal(t, 4711, rep.ReferenceRows)
}
