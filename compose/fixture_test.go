package compose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// The lifecycle tests run this test binary again: as the supervisor and as
// small servers. What they consist of travels in a variable.
const (
	fixtureVariable = "MLOPS_TEST_SERVICES"
	roleVariable    = "MLOPS_TEST_ROLE"
)

// fake is a small server.
type fake struct {
	Name  string
	After []string
	Port  int
	Mode  string // how it misbehaves
	Real  bool   // not a fake: the recipe of that name

	Optional bool // started by name only
}

var testTiming = timing{
	poll: 10 * time.Millisecond, snapshot: 500 * time.Millisecond, health: 50 * time.Millisecond, answer: 15 * time.Second,
	backoff: 10 * time.Millisecond, longest: 40 * time.Millisecond, reset: time.Hour,
	stall: 20 * time.Second, attempts: 3, linger: 100 * time.Millisecond, idle: 20 * time.Second,
}

func TestMain(m *testing.M) {
	os.Setenv("GORACE", cmp.Or(os.Getenv("GORACE"), "atexit_sleep_ms=0")) // else each process sleeps for a second before it ends
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		s, err := New(Options{})
		switch {
		case err != nil:
		case os.Getenv(toyVariable) != "":
			added = append(added, toyService)
			s.timing = testTiming
			err = s.Supervise(context.Background())
		default:
			s.catalog, s.timing = fakes(os.Getenv(fixtureVariable)), testTiming
			err = s.Supervise(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is the life of a fake server.
func play(role string) {
	mode, name, _ := strings.Cut(role, "/")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println(name, "begins, mode", mode)
	switch mode {
	case "sleep":
		<-ctx.Done()
		return
	case "exit":
		fmt.Println("the last words of", name)
		os.Exit(3)
	case "deaf":
		<-ctx.Done()
		return
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		ctx = context.Background()
	case "family":
		// A child in a session of its own, without our mark: as Ray's are.
		c := exec.Command(os.Args[0])
		c.Env = []string{roleVariable + "=sleep/child"}
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			panic(err)
		}
		_ = os.WriteFile(os.Getenv("PIDFILE"), []byte(fmt.Sprint(c.Process.Pid)), 0o600)
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	asked := 0
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		if mode == "mute" && asked > 1 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, os.Getenv(proc.MarkVariable))
		if mode == "brief" {
			time.AfterFunc(20*time.Millisecond, func() { os.Exit(4) })
		}
	})}
	go func() { _ = srv.Serve(l) }()
	<-ctx.Done()
}

// fakes makes a catalog of the services in text.
func fakes(text string) func(bool) []service {
	var list []fake
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		panic(err)
	}
	var out []service
	for _, f := range list {
		if f.Real {
			out = append(out, postgresService())
			continue
		}
		out = append(out, f.recipe())
	}
	return func(bool) []service { return out }
}

func (f fake) recipe() service {
	return service{
		name: f.Name, group: "group-" + f.Name, after: f.After, optional: f.Optional, grace: time.Second,
		ports: []port{{name: "http", first: f.Port}},
		command: func(s *site) (command, error) {
			return command{path: os.Args[0], env: []string{
				roleVariable + "=" + f.Mode + "/" + f.Name,
				fmt.Sprintf("PORT=%d", s.port(f.Name, "http")),
				fmt.Sprintf("NEEDS=%v", f.needs(s)),
				"PIDFILE=" + filepath.Join(s.home, f.Name+".child"),
				"GOCOVERDIR=" + s.home,
				"GORACE=" + os.Getenv("GORACE"),
			}}, nil
		},
		ready: func(ctx context.Context, s *site) error {
			status, body, err := ask(ctx, s.url(f.Name, "http"))
			switch {
			case err != nil:
				return err
			case status != 200:
				return fmt.Errorf("answered %d", status)
			case proc.MarkVariable+"="+string(body) != proc.Mark(s.home, f.Name):
				return fmt.Errorf("%q answers", body)
			}
			return nil
		},
		endpoints: func(s *site) map[string]stackfile.Endpoint {
			return map[string]stackfile.Endpoint{f.Name: {URL: s.url(f.Name, "http")}}
		},
	}
}

// needs are the addresses of what the server relies on.
func (f fake) needs(s *site) (out []string) {
	for _, n := range f.After {
		out = append(out, s.url(n, "http"))
	}
	return out
}

func ask(ctx context.Context, url string) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// containers is the stack's runtime if that is Docker's, else nil.
func (s *Stack) containers() (*docker, error) {
	r, err := s.carrier()
	d, _ := r.(*docker)
	return d, err
}

// freePort finds a number that is free now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// stackOf makes a stack of fakes with a home of its own, and makes sure that
// the test leaves nothing running.
func stackOf(t *testing.T, list ...fake) *Stack {
	t.Helper()
	home := t.TempDir()
	b, err := json.Marshal(list)
	require.NoError(t, err)
	t.Setenv(fixtureVariable, string(b))
	t.Setenv("MLOPS_HOME", home)
	s, err := New(Options{Command: os.Args[0]})
	require.NoError(t, err)
	s.catalog, s.timing = fakes(string(b)), testTiming
	t.Cleanup(func() {
		require.NoError(t, s.Stop(context.Background(), StopOptions{}))
		if t.Failed() {
			for _, l := range append(list, fake{Name: supervisorName}) {
				t.Logf("log of %s:\n%s", l.Name, strings.Join(tail(s.logPath(l.Name), 0, 60), "\n"))
			}
		}
	})
	return s
}

// within runs the supervisor in this process.
func within(t *testing.T, s *Stack) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- s.Supervise(context.Background()) }()
	eventually(t, "the supervisor answers", func() bool {
		c, err := dial(s.home)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	t.Cleanup(func() {
		require.NoError(t, s.Stop(context.Background(), StopOptions{}))
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(30 * time.Second):
			t.Error("the supervisor does not end although no service is left")
		}
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			require.FailNow(t, "never: "+what)
		case <-tick.C:
		}
	}
}

func start(t *testing.T, s *Stack, services ...string) Status {
	t.Helper()
	st, err := s.Start(t.Context(), StartOptions{Services: services})
	require.NoError(t, err)
	return st
}

func of(st Status, name string) ServiceStatus {
	for _, v := range st.Services {
		if v.Name == name {
			return v
		}
	}
	return ServiceStatus{}
}

// kill ends a process of the test as nothing else can.
func kill(t *testing.T, pid int) {
	t.Helper()
	require.Greater(t, pid, 1)
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// bystander is a process that has nothing to do with any stack.
func bystander(t *testing.T) proc.ID {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = []string{roleVariable + "=sleep/stranger"}
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	i, err := proc.Inspect(c.Process.Pid)
	require.NoError(t, err)
	return i.ID
}

func gone(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, os.ErrNotExist)
}
