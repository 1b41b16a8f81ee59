package rayserve

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func clientIn(t *testing.T, dir string) *Client {
	c, err := New(Options{URL: "http://ray.invalid", StateDir: dir, PollEvery: time.Millisecond})
	require.NoError(t, err)
	return c
}

// watchedContext closes waited when its end is waited for.
type watchedContext struct {
	context.Context
	once   sync.Once
	waited chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.waited) })
	return c.Context.Done()
}

func TestOneDeploymentWritesAtATime(t *testing.T) {
	dir := t.TempDir()
	a, b := clientIn(t, dir), clientIn(t, dir)
	unlock, err := a.lock(t.Context(), "Deploy")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	_, err = b.lock(ctx, "Deploy")
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	waiting := &watchedContext{Context: t.Context(), waited: make(chan struct{})}
	var released atomic.Bool
	got := make(chan error)
	go func() {
		unlock, err := b.lock(waiting, "Deploy")
		if err == nil && !released.Load() {
			err = errors.New("two deployments held the lock")
		}
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case <-waiting.waited: // it tried, and the lock was held
	case err := <-got:
		require.NoError(t, err, "it did not wait for the lock")
		require.Fail(t, "it did not wait for the lock")
	}
	released.Store(true)
	unlock()
	require.NoError(t, <-got, "the lock was given up")
}

func TestADamagedStateIsToldNotOverwritten(t *testing.T) {
	c := clientIn(t, t.TempDir())
	require.NoError(t, os.WriteFile(c.keptFile(), []byte(`{"session":`), 0o600))
	require.ErrorContains(t, Reapply(t.Context(), c), "is damaged")
}

func TestPackagesThatNothingRunsAreSweptAfterADay(t *testing.T) {
	c := clientIn(t, t.TempDir())
	name := func(digit string) string { return "_ray_pkg_" + strings.Repeat(digit, 32) + ".zip" }
	for _, d := range []string{"1", "2", "3"} {
		require.NoError(t, c.keepPackage(name(d), []byte(d)))
	}
	old := time.Now().Add(-25 * time.Hour)
	for _, d := range []string{"1", "2"} {
		require.NoError(t, os.Chtimes(filepath.Join(c.opt.StateDir, "packages", name(d)), old, old))
	}
	app := func(path, digit string) json.RawMessage {
		return json.RawMessage(`{"name":"a","import_path":"` + path + `","runtime_env":{"working_dir":"gcs://` + name(digit) + `"}}`)
	}
	k := keptApps{Session: "s", Config: desired{Applications: []json.RawMessage{app(importPath, "1"), app("their.app:x", "2")}}}
	require.Equal(t, []string{name("1")}, k.packages(), "the packages of others are theirs")
	require.NoError(t, c.keep(k))
	entries, err := os.ReadDir(filepath.Join(c.opt.StateDir, "packages"))
	require.NoError(t, err)
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	require.Equal(t, []string{name("1"), name("3")}, left, "1 is in use and 3 is young: a deployment may go back to it")
	back, err := c.recall()
	require.NoError(t, err)
	require.Equal(t, k, back)
}

func TestAKeptPackageThatIsGoneStopsNobodyElse(t *testing.T) {
	c := clientIn(t, t.TempDir())
	c.opt.Logger = slog.New(slog.DiscardHandler)
	gone := "gcs://_ray_pkg_" + strings.Repeat("0", 32) + ".zip"
	k := keptApps{Config: desired{Applications: []json.RawMessage{json.RawMessage(`{"name":"a","import_path":"mlops_serve.app:build","runtime_env":{"working_dir":"` + gone + `"}}`)}}}
	require.Len(t, k.packages(), 1)
	require.NoError(t, c.bring(t.Context(), "Deploy", k))
}

func TestAddressesAreChecked(t *testing.T) {
	_, err := New(Options{URL: "ray://127.0.0.1:10001"})
	require.ErrorContains(t, err, "dashboard")
	_, err = New(Options{URL: "http://h", ServeURL: "127.0.0.1:8001"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	_, err = New(Options{})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CACHE_HOME", "")
	a, err := New(Options{URL: "http://one:8265", ServeURL: "https://models.example"})
	require.NoError(t, err)
	b, err := New(Options{URL: "http://two:8265/", ServeURL: "http://models.example"})
	require.NoError(t, err)
	require.NotEqual(t, a.opt.StateDir, b.opt.StateDir, "two clusters must not share their desired configuration")
	require.Equal(t, 443, a.port)
	require.Equal(t, 80, b.port)
}

func TestInputsHaveMLflowsForm(t *testing.T) {
	for want, in := range map[string]Input{
		`{"dataframe_split":{"columns":["a"],"data":[[1,"x"]]}}`: DataframeSplit{Columns: []string{"a"}, Data: [][]any{{1, "x"}}},
		`{"dataframe_split":{"data":[[1]]}}`:                     DataframeSplit{Data: [][]any{{1}}},
		`{"dataframe_records":[{"a":1}]}`:                        DataframeRecords{{"a": 1}},
		`{"inputs":{"x":[1,2]}}`:                                 Inputs{map[string][]int{"x": {1, 2}}},
		`{"instances":[[1],[2]]}`:                                Instances{[]int{1}, []int{2}},
	} {
		b, err := json.Marshal(in.payload())
		require.NoError(t, err)
		require.JSONEq(t, want, string(b))
	}
	_, err := Prediction{Predictions: json.RawMessage(`["a"]`)}.Floats()
	require.ErrorIs(t, err, mlops.ErrInvalid)
}
