package compose

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMembersAreKnownByMoreThanTheirNumber(t *testing.T) {
	at := func(pid, parent, session int, start uint64) procInfo {
		return procInfo{proc: proc{pid, start}, parent: parent, session: session}
	}
	for _, tt := range []struct {
		name  string
		table []procInfo
		f     family
		marks map[int]string
		want  []int
	}{
		{"main, child and grandchild in another session", []procInfo{at(10, 2, 10, 5), at(11, 10, 10, 6), at(12, 11, 12, 7), at(13, 2, 13, 8)}, family{main: proc{10, 5}}, nil, []int{10, 11, 12}},
		{"main's number with another start time is a stranger", []procInfo{at(10, 2, 10, 99), at(11, 10, 10, 100)}, family{main: proc{10, 5}}, nil, nil},
		{"an orphan is known from before", []procInfo{at(12, 2, 12, 7)}, family{main: proc{10, 5}, seen: []proc{{12, 7}}}, nil, []int{12}},
		{"an orphan's number with another start time is a stranger", []procInfo{at(12, 2, 12, 8)}, family{main: proc{10, 5}, seen: []proc{{12, 7}}}, nil, nil},
		{"a mark is enough", []procInfo{at(12, 2, 12, 7), at(14, 2, 14, 7)}, family{mark: "M"}, map[int]string{12: "M", 14: "N"}, []int{12}},
		{"a dead main's session proves nothing", []procInfo{at(12, 2, 10, 7)}, family{main: proc{10, 5}}, nil, nil},
		{"an empty family has no members", []procInfo{at(12, 2, 0, 7)}, family{mark: "M"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := table{}
			for _, i := range tt.table {
				tab[i.PID] = i
			}
			var got []int
			for _, p := range tab.members(tt.f, func(pid int) string { return tt.marks[pid] }) {
				got = append(got, p.PID)
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestADeadMainsZombieStillLeadsItsSession(t *testing.T) {
	z := procInfo{proc: proc{10, 5}, parent: 2, session: 10, zombie: true}
	tab := table{10: z, 11: {proc: proc{11, 6}, parent: 1, session: 10}}
	got := tab.members(family{main: proc{10, 5}}, func(int) string { return "" })
	require.Equal(t, []proc{{11, 6}}, got, "the orphan in the session, and not the zombie")
}

func TestNoSignalReachesAProcessOfAnotherStartTime(t *testing.T) {
	p := sleeper(t)
	require.False(t, sendSignal(proc{p.PID, p.Start + 1}, syscall.SIGKILL))
	require.False(t, sendSignal(proc{0, 0}, syscall.SIGKILL))
	require.False(t, sendSignal(proc{1, 0}, syscall.SIGKILL))
	require.True(t, alive(p))
	require.True(t, sendSignal(p, syscall.SIGKILL))
}

func TestOurselvesAreSeenAsTheSystemSeesUs(t *testing.T) {
	all, err := listProcesses()
	require.NoError(t, err)
	me, ok := all[os.Getpid()]
	require.True(t, ok)
	require.Equal(t, os.Getppid(), me.parent)
	require.True(t, alive(me.proc))
	require.Positive(t, memoryOf(me.proc))
	require.NotEqual(t, "unknown", bootID())
}

func procargs(argc uint32, words ...string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, argc)
	return append(b, strings.Join(words, "\x00")+"\x00"...)
}

func TestAMarkAmongTheArgumentsIsNone(t *testing.T) {
	mark := markOf("/home/x/.mlops", "ray")
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

func TestAPortIsKeptElseTheNextIsTaken(t *testing.T) {
	who := func(int) []owner { return []owner{{4242, "python3"}} }
	for _, tt := range []struct {
		name   string
		before int
		busy   []int // held by strangers
		taken  []int // wanted by others of the stack
		want   int
		why    string
	}{
		{"the first choice", 0, nil, nil, 5000, ""},
		{"the one it had", 5003, nil, nil, 5003, ""},
		{"the next free", 0, []int{5000}, nil, 5001, "port 5000 is held by python3 (pid 4242); using 5001"},
		{"not what another service wants", 0, []int{5000}, []int{5001}, 5002, "port 5000 is held by python3 (pid 4242); using 5002"},
		{"back to the first choice", 5003, []int{5003}, nil, 5000, "port 5003 is held by python3 (pid 4242); using 5000"},
		{"not the one it had if another has it now", 5003, nil, []int{5003}, 5000, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			has := func(list []int) func(int) bool {
				return func(n int) bool {
					for _, x := range list {
						if x == n {
							return true
						}
					}
					return false
				}
			}
			n, why, err := choosePort(port{name: "http", first: 5000}, tt.before, has(tt.taken), func(n int) bool { return !has(tt.busy)(n) }, who)
			require.NoError(t, err)
			require.Equal(t, tt.want, n)
			require.Equal(t, tt.why, why)
		})
	}
	_, _, err := choosePort(port{name: "http", first: 5000}, 0, func(int) bool { return false }, func(int) bool { return false }, who)
	require.ErrorContains(t, err, "port 5000 is held by python3 (pid 4242)")
}

func TestLsofNamesItsProcesses(t *testing.T) {
	require.Equal(t, []owner{{501, "ControlCe"}, {7, ""}}, parseLsof("p501\ncControlCe\nf10\np7\n"))
	require.Empty(t, parseLsof(""))
}

func TestServersGetASmallCleanEnvironment(t *testing.T) {
	t.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary")
	t.Setenv("SSL_CERT_FILE", "/etc/ca.pem")
	env := environment("/h", "app", []string{"A=1", "LANG=C.UTF-8", "A=2"})
	all := strings.Join(env, "\n")
	require.NotContains(t, all, "PYTHONDONTWRITEBYTECODE")
	require.NotContains(t, all, "canary")
	require.Contains(t, env, "SSL_CERT_FILE=/etc/ca.pem")
	require.Contains(t, env, "DO_NOT_TRACK=1")
	require.Contains(t, env, "HOME=/h/data/home")
	require.Contains(t, env, "A=2")
	require.NotContains(t, env, "A=1")
	require.Contains(t, env, "MLOPS_SERVICE=/h:app")
}

func TestResolveAddsWhatIsNeeded(t *testing.T) {
	all := []service{{name: "store"}, {name: "app", after: []string{"store"}}, {name: "web", group: "front", after: []string{"app"}}, {name: "other"}}
	got, err := resolve(all, []string{"front"}, true)
	require.NoError(t, err)
	var names []string
	for _, v := range got {
		names = append(names, v.name)
	}
	require.Equal(t, []string{"store", "app", "web"}, names)
	got, err = resolve(all, []string{"front"}, false)
	require.NoError(t, err)
	require.Len(t, got, 1)
	_, err = resolve(all, []string{"postgras"}, true)
	require.ErrorContains(t, err, "no service postgras; there are store, app, front, web, other")
}
