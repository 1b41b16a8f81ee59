package dvc

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// running starts a process that the system's list shows by this name.
func running(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("cat")
	cmd.Args = []string{name}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	_, err = in.Write([]byte("x"))
	require.NoError(t, err)
	_, err = out.Read(make([]byte, 1)) // the system knows a program's name a moment after its start
	require.NoError(t, err)
	return cmd
}

// zombie is the pid of a process that has ended and that its parent has not
// asked for.
func zombie(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	for p, ok := inspect(cmd.Process.Pid); ok && !p.ended; p, ok = inspect(cmd.Process.Pid) {
		runtime.Gosched()
	}
	return cmd.Process.Pid
}

func TestPathsHeldByOthersAreNotTouched(t *testing.T) {
	r := stateRepo(t)
	r.lockTimeout = 0
	const repro = "/v/bin/dvc repro"
	live, other, dead, ended := running(t, "/v/bin/dvc").Process.Pid, running(t, "init").Process.Pid, 1<<30, zombie(t)
	for _, tt := range []struct {
		name    string
		write   map[string]holder
		read    map[string]holder
		old     bool // the file was last written long before
		writing bool
		held    bool
		stale   bool
	}{
		{name: "another writes it", write: map[string]holder{"d": {live, repro}}, held: true},
		{name: "another writes above it", write: map[string]holder{"": {live, repro}}, writing: true, held: true},
		{name: "another writes below it", write: map[string]holder{"d/x": {live, repro}}, writing: true, held: true},
		{name: "another writes beside it", write: map[string]holder{"dd": {live, repro}}, writing: true},
		{name: "another reads it, we read", read: map[string]holder{"d": {live, repro}}},
		{name: "another reads it, we write", read: map[string]holder{"d": {live, repro}}, writing: true, held: true},
		{name: "a program that uses dvc", write: map[string]holder{"d": {other, "train.py"}}, held: true},
		{name: "dvc through python", write: map[string]holder{"d": {live, "/v/lib/dvc/__main__.py -q repro"}}, held: true},
		{name: "the writer is dead", write: map[string]holder{"d": {dead, repro}}, writing: true, stale: true},
		{name: "the reader is dead", read: map[string]holder{"d": {dead, repro}}, writing: true, stale: true},
		{name: "we write it", write: map[string]holder{"d": {os.Getpid(), "train.py"}}, writing: true},
		{name: "the writer is a zombie", write: map[string]holder{"d": {ended, repro}}, stale: true},
		{name: "the pid is a younger program's", write: map[string]holder{"d": {live, repro}}, old: true, stale: true},
		{name: "the pid is not dvc's", write: map[string]holder{"d": {other, repro}}, writing: true, stale: true},
		{name: "a killed one of ours", write: map[string]holder{"d": {1, "/x/mlopsctl dvc pull"}}, writing: true, stale: true},
		{name: "a killed one of ours, behind a blank", write: map[string]holder{"d": {live, "/x y/mlopsctl dvc add d"}}, stale: true},
		{name: "a verb of dvc that keeps the main lock", write: map[string]holder{"d": {live, "/v/bin/dvc checkout d"}}, writing: true, stale: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := rwlock{Write: map[string]holder{}, Read: map[string][]holder{}}
			for rel, h := range tt.write {
				l.Write[r.abs(rel)] = h
			}
			for rel, h := range tt.read {
				l.Read[r.abs(rel)] = []holder{h}
			}
			data, err := json.Marshal(l)
			require.NoError(t, err)
			file := r.abs(".dvc/tmp/rwlock")
			require.NoError(t, os.WriteFile(file, data, 0o666))
			if tt.old {
				then := time.Now().Add(-time.Hour)
				require.NoError(t, os.Chtimes(file, then, then))
			}
			found, err := r.Doctor(t.Context(), "")
			require.NoError(t, err)
			said := false
			for _, f := range found {
				said = said || f.Check == "lock" && !f.OK && strings.Contains(f.Text, "a program that has ended still holds "+r.abs("d"))
			}
			require.Equal(t, tt.stale, said, "doctor lists it")
			c, err := r.begin(t.Context())
			require.NoError(t, err)
			_, err = c.claims(t.Context(), tt.writing, []string{"d"})
			c.end()
			after, e := os.ReadFile(file)
			require.NoError(t, e)
			switch {
			case tt.held:
				require.ErrorIs(t, err, mlops.ErrConflict)
				require.Equal(t, string(data), string(after))
			case tt.stale:
				require.NoError(t, err)
				require.JSONEq(t, `{"write": {}, "read": {}}`, string(after), "dvc is not stopped by it, either")
			default:
				require.NoError(t, err)
				require.Equal(t, string(data), string(after))
			}
			require.NoError(t, os.WriteFile(file, data, 0o666))
			if tt.stale && !tt.old {
				gone, err := r.ClearLocks(t.Context())
				require.NoError(t, err)
				require.Len(t, gone, 1)
				require.Contains(t, gone[0], r.abs("d"))
			}
		})
	}
}

func TestNoEntryOfOursStopsOthers(t *testing.T) {
	r := stateRepo(t)
	file := r.abs(".dvc/tmp/rwlock")
	require.NoError(t, os.WriteFile(file, nil, 0o666))
	c, err := r.begin(t.Context())
	require.NoError(t, err)
	defer c.end()
	_, err = c.claims(t.Context(), true, []string{"d"})
	require.NoError(t, err)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Empty(t, text, "a kill -9 from here on would leave it")
}

// The main lock is free while another program's entry is waited for: dvc repro
// needs it to end.
func TestAHeldPathIsWaitedForWithoutTheMainLock(t *testing.T) {
	r := stateRepo(t)
	r.lockTimeout = time.Minute
	h := running(t, "dvc")
	data, err := json.Marshal(rwlock{Write: map[string]holder{r.abs("d"): {h.Process.Pid, "dvc repro"}}})
	require.NoError(t, err)
	file := r.abs(".dvc/tmp/rwlock")
	require.NoError(t, os.WriteFile(file, data, 0o666))
	c, err := r.begin(t.Context())
	require.NoError(t, err)
	defer c.end()
	freed := make(chan error, 1)
	go func() {
		f, err := flock(t.Context(), r.abs(".dvc/tmp/lock"), time.Minute)
		if err == nil {
			err = os.WriteFile(file, []byte("{}"), 0o666)
			_ = f.Close()
		}
		freed <- err
	}()
	waited, err := c.claims(t.Context(), true, []string{"d"})
	require.NoError(t, err)
	require.True(t, waited)
	require.NoError(t, <-freed)
	_, err = flock(t.Context(), r.abs(".dvc/tmp/lock"), 0)
	require.ErrorIs(t, err, mlops.ErrConflict, "it is ours again")
}

func TestATornRWLockIsAnErrorThatSaysWhatToDo(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs(".dvc/tmp/rwlock"), []byte(`{"write": {`), 0o666))
	c, err := r.begin(t.Context())
	require.NoError(t, err)
	defer c.end()
	_, err = c.claims(t.Context(), true, []string{"d"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "remove it")
}

func TestAHeldLockNamesItsHolder(t *testing.T) {
	r := stateRepo(t)
	r.lockTimeout = 0
	holder := running(t, "cat")
	f, err := os.Create(filepath.Join(r.dir, ".dvc/tmp/lock"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	_, err = f.WriteString(" " + strconv.Itoa(holder.Process.Pid) + "\n")
	require.NoError(t, err)
	_, _, err = r.lock(t.Context())
	require.ErrorIs(t, err, mlops.ErrConflict)
	require.ErrorContains(t, err, "pid "+strconv.Itoa(holder.Process.Pid)+": cat")
	require.Equal(t, "of unknown pid", nameOf("../.."))
}

func FuzzRWLock(f *testing.F) {
	f.Add([]byte(`{"write": {"/a": {"pid": 1, "cmd": "dvc"}}, "read": {"/b": [{"pid": 2, "cmd": "x"}]}}`))
	f.Add([]byte(`{"write": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseRWLock(data)
		if err != nil {
			return
		}
		l.blocks("/a", true, func(h holder) bool { return strings.Contains(h.Cmd, "x") })
		l.drop(func(string, holder) bool { return false })
		out, err := json.Marshal(l)
		require.NoError(t, err)
		again, err := parseRWLock(out)
		require.NoError(t, err)
		require.Len(t, again.Write, len(l.Write))
		l.drop(func(string, holder) bool { return true })
		require.Empty(t, l.Write)
		require.Empty(t, l.Read)
	})
}
