package compose

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

func TestAPortIsKeptElseTheNextIsTaken(t *testing.T) {
	who := func(int) []proc.Owner { return []proc.Owner{{PID: 4242, Command: "python3"}} }
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
