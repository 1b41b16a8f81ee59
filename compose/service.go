package compose

import (
	"context"
	"io"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// service is the recipe of one server process: what it needs, how it is
// started, and how it proves that it is there. Recipes only describe; a runtime
// runs them.
//
// A new server is one file, service_NAME.go, and one block in
// docker/compose.yaml. The file has the recipe and a line that adds it to the
// stack:
//
//	func init() { added = append(added, gatewayService) }
//
//	func gatewayService() service {
//		return service{
//			name:    "gateway",
//			after:   []string{"mlflow"},
//			ports:   []port{{name: "http", first: 8020, inside: 8020}},
//			command: …, // for processes of this machine
//			ready:   …, // asks it who it is, in either runtime
//		}
//	}
//
// The block has the service's name, publishes port http of a service "gateway"
// as 127.0.0.1:${MLOPS_PORT_GATEWAY:-8020}:8020, and has a health check and
// limits as the others have. Start, stop, status, logs, doctor, the plan, the
// choice of ports and the stack file follow from these two.
type service struct {
	name  string // "airflow-scheduler"; names its log, its data and its state
	group string // "airflow": what a user may say to mean several services
	after []string

	// optional says that it is started only when it is named. Then it belongs
	// to the stack, until it is named to stop.
	optional bool

	// ports it listens on; the first choice is kept if it is free.
	ports []port

	// venv is the Python environment it runs in; empty for none.
	venv string

	// prepare makes folders, files and database tables. It runs before every
	// start, after the services in after are ready, and must be repeatable.
	prepare func(context.Context, *site) error

	// command is the server itself. It stays in the foreground.
	command func(*site) (command, error)

	// ready asks once whether the server answers as itself. It must not
	// succeed against a stranger who holds the port.
	ready func(context.Context, *site) error

	// settled runs each time the service has become ready, before it counts
	// as ready: warming up, re-applying what it forgot. May be nil.
	settled func(context.Context, *site) error

	// endpoints are what programs may use, by the names of stackfile.
	endpoints func(*site) map[string]stackfile.Endpoint

	// stop is the signal that asks it to end; 0 means SIGTERM.
	stop syscall.Signal

	// grace is how long it may take to end after that signal; 0 means 10 s.
	grace time.Duration
}

// refusal is the answer of a server that waiting does not change: it takes our
// secret for a stranger's.
type refusal string

func (r refusal) Error() string { return string(r) }

// port is a listening address of a service.
type port struct {
	name   string // "http", "dashboard"
	first  int    // the preferred number
	late   bool   // opened some time after the service became ready
	inside int    // the number in the service's container, of a recipe that was added; 0: not published
}

// command is a process to start.
type command struct {
	path string
	args []string
	env  []string // added to a small clean environment; no secrets in args
	dir  string
	uid  int // 0: as we are; else the user to become (only when we are root)
	gid  int
}

// site is what a recipe may know about where it runs.
type site struct {
	home  string         // MLOPS_HOME
	ports map[string]int // chosen, by "service/name"
	log   io.Writer      // the service's log, for what prepare has to say
	light bool           // MLflow alone on SQLite
	looks bool           // makes no secrets: it is for a question, not for a start

	command string // the mlopsctl that tasks call; may be empty

	asked map[string]int // what port told; nil if that is not recorded

	// run starts a command of preparation, waits for it, and sends its output
	// to the log. The command is ended with ctx.
	run func(context.Context, command) error
}

func (s *site) data(name ...string) string {
	return filepath.Join(append([]string{s.home, "data"}, name...)...)
}

// port is the number chosen for a service's port.
func (s *site) port(service, name string) int {
	key := service + "/" + name
	if s.asked != nil {
		s.asked[key] = s.ports[key]
	}
	return s.ports[key]
}

// url is a loopback address on the chosen port.
func (s *site) url(service, name string) string {
	return "http://127.0.0.1:" + strconv.Itoa(s.port(service, name))
}

// bin is a program of a Python environment: bin("mlflow", "python").
func (s *site) bin(venv, program string) string {
	return filepath.Join(s.home, "venvs", venv, "bin", program)
}

// secret returns a secret of this stack, made at its first use and kept in a
// file of mode 0600; the second result is that file. A site that only looks
// makes none.
func (s *site) secret(name string) (mlops.Secret, string, error) {
	if !s.looks {
		if err := makeSecret(s.home, name); err != nil {
			return "", "", err
		}
	}
	return readSecret(s.home, name)
}

// secretFile is the file of a secret, which need not be there.
func (s *site) secretFile(name string) string { return secretPath(s.home, name) }
