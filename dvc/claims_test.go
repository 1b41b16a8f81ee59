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
	"github.com/mlops-integration/mlops/dvc/internal/lock"
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
	for p, ok := lock.Inspect(cmd.Process.Pid); ok && !p.Ended; p, ok = lock.Inspect(cmd.Process.Pid) {
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
		write   map[string]lock.Holder
		read    map[string]lock.Holder
		old     bool // the file was last written long before
		writing bool
		held    bool
		stale   bool
	}{
		{name: "another writes it", write: map[string]lock.Holder{"d": {PID: live, Cmd: repro}}, held: true},
		{name: "another writes above it", write: map[string]lock.Holder{"": {PID: live, Cmd: repro}}, writing: true, held: true},
		{name: "another writes below it", write: map[string]lock.Holder{"d/x": {PID: live, Cmd: repro}}, writing: true, held: true},
		{name: "another writes beside it", write: map[string]lock.Holder{"dd": {PID: live, Cmd: repro}}, writing: true},
		{name: "another reads it, we read", read: map[string]lock.Holder{"d": {PID: live, Cmd: repro}}},
		{name: "another reads it, we write", read: map[string]lock.Holder{"d": {PID: live, Cmd: repro}}, writing: true, held: true},
		{name: "a program that uses dvc", write: map[string]lock.Holder{"d": {PID: other, Cmd: "train.py"}}, held: true},
		{name: "dvc through python", write: map[string]lock.Holder{"d": {PID: live, Cmd: "/v/lib/dvc/__main__.py -q repro"}}, held: true},
		{name: "the writer is dead", write: map[string]lock.Holder{"d": {PID: dead, Cmd: repro}}, writing: true, stale: true},
		{name: "the reader is dead", read: map[string]lock.Holder{"d": {PID: dead, Cmd: repro}}, writing: true, stale: true},
		{name: "we write it", write: map[string]lock.Holder{"d": {PID: os.Getpid(), Cmd: "train.py"}}, writing: true},
		{name: "the writer is a zombie", write: map[string]lock.Holder{"d": {PID: ended, Cmd: repro}}, stale: true},
		{name: "the pid is a younger program's", write: map[string]lock.Holder{"d": {PID: live, Cmd: repro}}, old: true, stale: true},
		{name: "the pid is not dvc's", write: map[string]lock.Holder{"d": {PID: other, Cmd: repro}}, writing: true, stale: true},
		{name: "a killed one of ours", write: map[string]lock.Holder{"d": {PID: 1, Cmd: "/x/mlopsctl dvc pull"}}, writing: true, stale: true},
		{name: "a killed one of ours, behind a blank", write: map[string]lock.Holder{"d": {PID: live, Cmd: "/x y/mlopsctl dvc add d"}}, stale: true},
		{name: "a verb of dvc that keeps the main lock", write: map[string]lock.Holder{"d": {PID: live, Cmd: "/v/bin/dvc checkout d"}}, writing: true, stale: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := lock.Paths{Write: map[string]lock.Holder{}, Read: map[string][]lock.Holder{}}
			for rel, h := range tt.write {
				l.Write[r.abs(rel)] = h
			}
			for rel, h := range tt.read {
				l.Read[r.abs(rel)] = []lock.Holder{h}
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
	data, err := json.Marshal(lock.Paths{Write: map[string]lock.Holder{r.abs("d"): {PID: h.Process.Pid, Cmd: "dvc repro"}}})
	require.NoError(t, err)
	file := r.abs(".dvc/tmp/rwlock")
	require.NoError(t, os.WriteFile(file, data, 0o666))
	c, err := r.begin(t.Context())
	require.NoError(t, err)
	defer c.end()
	freed := make(chan error, 1)
	go func() {
		f, err := lock.Take(t.Context(), r.abs(".dvc/tmp/lock"), time.Minute)
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
	_, err = lock.Take(t.Context(), r.abs(".dvc/tmp/lock"), 0)
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
}
