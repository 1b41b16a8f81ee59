package proc

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembersAreKnownByMoreThanTheirNumber(t *testing.T) {
	at := func(pid, parent, session int, start uint64) Info {
		return Info{ID: ID{pid, start}, parent: parent, session: session}
	}
	for _, tt := range []struct {
		name  string
		table []Info
		f     Family
		marks map[int]string
		want  []int
	}{
		{"main, child and grandchild in another session", []Info{at(10, 2, 10, 5), at(11, 10, 10, 6), at(12, 11, 12, 7), at(13, 2, 13, 8)}, Family{Main: ID{10, 5}}, nil, []int{10, 11, 12}},
		{"main's number with another start time is a stranger", []Info{at(10, 2, 10, 99), at(11, 10, 10, 100)}, Family{Main: ID{10, 5}}, nil, nil},
		{"an orphan is known from before", []Info{at(12, 2, 12, 7)}, Family{Main: ID{10, 5}, Seen: []ID{{12, 7}}}, nil, []int{12}},
		{"an orphan's number with another start time is a stranger", []Info{at(12, 2, 12, 8)}, Family{Main: ID{10, 5}, Seen: []ID{{12, 7}}}, nil, nil},
		{"a mark is enough", []Info{at(12, 2, 12, 7), at(14, 2, 14, 7)}, Family{Mark: "M"}, map[int]string{12: "M", 14: "N"}, []int{12}},
		{"a dead main's session proves nothing", []Info{at(12, 2, 10, 7)}, Family{Main: ID{10, 5}}, nil, nil},
		{"an empty family has no members", []Info{at(12, 2, 0, 7)}, Family{Mark: "M"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := Table{}
			for _, i := range tt.table {
				tab[i.PID] = i
			}
			var got []int
			for _, p := range tab.Members(tt.f, func(pid int) string { return tt.marks[pid] }) {
				got = append(got, p.PID)
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestADeadMainsZombieStillLeadsItsSession(t *testing.T) {
	z := Info{ID: ID{10, 5}, parent: 2, session: 10, Zombie: true}
	tab := Table{10: z, 11: {ID: ID{11, 6}, parent: 1, session: 10}}
	got := tab.Members(Family{Main: ID{10, 5}}, func(int) string { return "" })
	require.Equal(t, []ID{{11, 6}}, got, "the orphan in the session, and not the zombie")
}

func TestNoSignalReachesAProcessOfAnotherStartTime(t *testing.T) {
	p := sleeper(t)
	require.False(t, Signal(ID{p.PID, p.Start + 1}, syscall.SIGKILL))
	require.False(t, Signal(ID{0, 0}, syscall.SIGKILL))
	require.False(t, Signal(ID{1, 0}, syscall.SIGKILL))
	require.True(t, Alive(p))
	require.True(t, Signal(p, syscall.SIGKILL))
}

func TestOurselvesAreSeenAsTheSystemSeesUs(t *testing.T) {
	all, err := All()
	require.NoError(t, err)
	me, ok := all[os.Getpid()]
	require.True(t, ok)
	require.Equal(t, os.Getppid(), me.parent)
	require.True(t, Alive(me.ID))
	require.Positive(t, MemoryOf(me.ID))
	require.NotEqual(t, "unknown", BootID())
}

func procargs(argc uint32, words ...string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, argc)
	return append(b, strings.Join(words, "\x00")+"\x00"...)
}

func TestAMarkAmongTheArgumentsIsNone(t *testing.T) {
	mark := Mark("/home/x/.mlops", "ray")
	require.Equal(t, mark, environMark(procargs(2, "/bin/ray", "", "", "ray", "start", "A=1", mark)))
	require.Empty(t, environMark(procargs(2, "/bin/ray", "", "", "ray", mark, "A=1")))
	require.Empty(t, environMark(nil))
}

func FuzzEnvironMark(f *testing.F) {
	f.Add(procargs(1, "/bin/ray", "ray", "MLOPS_SERVICE=/h:x"))
	f.Add([]byte{255, 255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if m := environMark(b); m != "" && !bytes.Contains(b, []byte(m)) {
			t.Errorf("%q is not in %q", m, b)
		}
	})
}

func TestLsofNamesItsProcesses(t *testing.T) {
	require.Equal(t, []Owner{{501, "ControlCe"}, {7, ""}}, parseLsof("p501\ncControlCe\nf10\np7\n"))
	require.Empty(t, parseLsof(""))
}

// sleeper is a process that has nothing to do with any stack.
func sleeper(t *testing.T) ID {
	t.Helper()
	c := exec.Command("sleep", "600")
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	i, err := Inspect(c.Process.Pid)
	require.NoError(t, err)
	return i.ID
}
