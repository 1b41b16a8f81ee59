package dvc

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestPathsHeldByOthersAreNotTouched(t *testing.T) {
	r := stateRepo(t)
	parent, dead := os.Getppid(), 1<<30
	for _, tt := range []struct {
		name    string
		write   map[string]int
		read    map[string]int
		writing bool
		held    bool
	}{
		{"another writes it", map[string]int{"d": parent}, nil, false, true},
		{"another writes above it", map[string]int{"": parent}, nil, true, true},
		{"another writes below it", map[string]int{"d/x": parent}, nil, true, true},
		{"another writes beside it", map[string]int{"dd": parent}, nil, true, false},
		{"another reads it, we read", nil, map[string]int{"d": parent}, false, false},
		{"another reads it, we write", nil, map[string]int{"d": parent}, true, true},
		{"the writer is dead", map[string]int{"d": dead}, nil, true, false},
		{"the reader is dead", nil, map[string]int{"d": dead}, true, false},
		{"we write it", map[string]int{"d": os.Getpid()}, nil, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := rwlock{Write: map[string]holder{}, Read: map[string][]holder{}}
			for rel, pid := range tt.write {
				l.Write[r.abs(rel)] = holder{pid, "dvc repro"}
			}
			for rel, pid := range tt.read {
				l.Read[r.abs(rel)] = []holder{{pid, "dvc repro"}}
			}
			data, err := json.Marshal(l)
			require.NoError(t, err)
			file := r.abs(".dvc/tmp/rwlock")
			require.NoError(t, os.WriteFile(file, data, 0o666))
			unlock, err := r.lock(t.Context())
			require.NoError(t, err)
			err = r.claims(t.Context(), tt.writing, []string{"d"})
			during, e := os.ReadFile(file)
			require.NoError(t, e)
			unlock()
			after, e := os.ReadFile(file)
			require.NoError(t, e)
			if tt.held {
				require.ErrorIs(t, err, mlops.ErrConflict)
				require.ErrorContains(t, err, "dvc repro")
				require.Equal(t, string(data), string(after))
				return
			}
			require.NoError(t, err)
			if tt.writing {
				got, err := parseRWLock(during)
				require.NoError(t, err)
				require.Equal(t, os.Getpid(), got.Write[r.abs("d")].PID, "others see that we write")
				require.NotContains(t, string(after), strconv.Itoa(os.Getpid()))
				require.NotContains(t, string(after), strconv.Itoa(dead))
			}
		})
	}
}

func TestATornRWLockIsAnErrorThatSaysWhatToDo(t *testing.T) {
	r := stateRepo(t)
	require.NoError(t, os.WriteFile(r.abs(".dvc/tmp/rwlock"), []byte(`{"write": {`), 0o666))
	err := r.claims(t.Context(), true, []string{"d"})
	require.ErrorIs(t, err, mlops.ErrInvalid)
	require.ErrorContains(t, err, "remove it")
}

func TestAHeldLockNamesItsHolder(t *testing.T) {
	r := stateRepo(t)
	r.lockTimeout = 0
	holder := exec.Command("cat")
	in, err := holder.StdinPipe()
	require.NoError(t, err)
	out, err := holder.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, holder.Start())
	defer func() { _ = in.Close(); _ = holder.Wait() }()
	_, err = in.Write([]byte("x"))
	require.NoError(t, err)
	_, err = out.Read(make([]byte, 1)) // the system tells a program's name a moment after it began
	require.NoError(t, err)
	f, err := os.Create(filepath.Join(r.root, ".dvc/tmp/lock"))
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	_, err = f.WriteString(" " + strconv.Itoa(holder.Process.Pid) + "\n")
	require.NoError(t, err)
	_, err = r.lock(t.Context())
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
