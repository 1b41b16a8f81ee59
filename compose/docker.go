package compose

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// The runtimes of a stack.
const (
	ProcessRuntime = "process" // servers are processes of this machine
	DockerRuntime  = "docker"  // servers are containers of a Docker engine
)

// docker is the runtime of a stack in containers. The engine watches them and
// starts them again; nothing of ours runs beside it. What is wanted is in
// docker/compose.yaml; here is what mlopsctl has to know of it.
type docker struct {
	*base
	record dockerRecord
}

// dockerRecord is home/run/docker.json: that this home's stack runs in
// containers, and how.
type dockerRecord struct {
	Runtime string         `json:"runtime"`         // what the next command without --runtime means
	Ports   map[string]int `json:"ports,omitempty"` // published on the loopback interface, by "service/name"
	Scale   map[string]int `json:"scale,omitempty"` // containers of a service, where it is not one

	Projects string `json:"projects,omitempty"` // the folder whose projects Airflow's tasks see
	Project  string `json:"project,omitempty"`  // the name of the stack in the engine
	Engine   string `json:"engine,omitempty"`   // where the engine is, if it is not the one that docker finds by itself

	lost bool // there is no such file: what runs knows the rest
}

func dockerRecordPath(home string) string { return filepath.Join(home, "run", "docker.json") }

func readDockerRecord(home string) (dockerRecord, error) {
	r := dockerRecord{Ports: map[string]int{}, Scale: map[string]int{}}
	b, err := os.ReadFile(dockerRecordPath(home))
	if errors.Is(err, fs.ErrNotExist) {
		r.lost = true
		if f, err := stackfile.Read(home); err == nil && f.Runtime == DockerRuntime {
			r.Runtime = DockerRuntime // it was deleted while they run
		}
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("%s cannot be read (%w); delete it and name the runtime again: mlopsctl start --runtime docker", dockerRecordPath(home), err)
	}
	return r, nil
}

func (r dockerRecord) write(home string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(dockerRecordPath(home), append(b, '\n'), 0o600)
}

// settle remembers the runtime that is now asked for. It refuses to leave one
// that still runs something: both would write the same stack file.
func (s *Stack) settle(ctx context.Context) error {
	r, err := readDockerRecord(s.home)
	if err != nil {
		return err
	}
	before := r.Runtime
	if before == "" {
		before = ProcessRuntime
	}
	if s.runtime == "" || s.runtime == before {
		return nil
	}
	other := *s
	other.runtime = before
	if _, err := os.Stat(filepath.Join(s.home, "run")); err == nil {
		st, err := other.Status(ctx)
		if err != nil {
			return err
		}
		if st.State != StateStopped {
			return &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Op: "start",
				Message: fmt.Sprintf("the stack of %s runs with --runtime %s; run: mlopsctl stop", s.home, before)}
		}
	}
	if err := makeHome(s.home); err != nil {
		return err
	}
	r.Runtime, r.Engine = s.runtime, cmp.Or(s.engine, r.Engine)
	return r.write(s.home)
}

// files is the folder that holds compose.yaml and the locks.
func (d *docker) files() string { return filepath.Join(d.home, "docker") }

// secrets is where the containers' copies of the secrets lie. The users inside
// are others than ours, so those files may be read; their folder is ours alone.
func (d *docker) secrets() string { return filepath.Join(d.home, "docker-secrets") }

// dockerSecrets are the names of all that compose.yaml mounts.
var dockerSecrets = []string{
	"postgres", "s3", "redis", "mlflow", "mlflow-session",
	"airflow", "airflow-fernet", "airflow-jwt", "airflow-session", "ray", "evidently",
}

// scalable are the services of which there may be several containers.
var scalable = []string{"airflow-worker", "ray-worker"}

// services lists what compose.yaml has. What they answer is judged as in the
// process runtime, from outside. There is no light stack.
func (d *docker) services(bool) []service {
	m, r, e := mlflowService(false), rayService(), evidentlyService()
	api := airflowServices()[0]
	part := func(name, group string, after ...string) service {
		return service{name: name, group: group, after: after}
	}
	postgres := part("postgres", "")
	if p := postgresService(); isTwin(d.home) { // docker/twin.yaml
		postgres.ports, postgres.endpoints = p.ports, p.endpoints
		postgres.ready = func(ctx context.Context, s *site) error { _, err := postgresFolderOf(ctx, s); return err }
	}
	s3 := s3Service()
	s3 = service{name: s3.name, ports: s3.ports, ready: s3.ready, endpoints: s3.endpoints}
	m = service{name: m.name, after: []string{"postgres", "s3"}, ports: m.ports, ready: m.ready, endpoints: m.endpoints}
	e = service{name: e.name, ports: e.ports, ready: e.ready, endpoints: e.endpoints}
	api = service{name: api.name, group: api.group, after: []string{"postgres", "redis"}, ports: api.ports, ready: api.ready, settled: api.settled, endpoints: api.endpoints}
	head := service{name: "ray-head", group: "ray", after: []string{"mlflow"}, ports: r.ports[:2], ready: r.ready, settled: r.settled, endpoints: r.endpoints}
	all := []service{
		postgres, s3, part("redis", ""), m, e, api,
		part("airflow-scheduler", "airflow", api.name), part("airflow-dag-processor", "airflow", api.name),
		part("airflow-triggerer", "airflow", api.name), part("airflow-worker", "airflow", api.name),
		head, part("ray-worker", "ray", head.name),
	}
	for _, recipe := range added {
		v := recipe()
		all = append(all, service{name: v.name, group: v.group, after: v.after, ports: v.ports, ready: v.ready, settled: v.settled, endpoints: v.endpoints})
	}
	return all
}

// published is a port that compose.yaml publishes: the variable for the number,
// and what it is inside.
type published struct {
	variable string
	inside   int
}

// publishedPorts are those ports, by "service/name", with that of PostgreSQL in
// twin.yaml.
func publishedPorts() map[string]published {
	all := maps.Clone(ownPorts)
	for _, recipe := range added {
		v := recipe()
		for _, p := range v.ports {
			variable := "MLOPS_PORT_" + v.name
			if p.name != "http" {
				variable += "_" + p.name
			}
			if p.inside != 0 {
				all[v.name+"/"+p.name] = published{strings.ToUpper(strings.ReplaceAll(variable, "-", "_")), p.inside}
			}
		}
	}
	return all
}

var ownPorts = map[string]published{
	"postgres/sql": {"MLOPS_PORT_POSTGRES", 5432}, "s3/http": {"MLOPS_PORT_S3", 7070},
	"mlflow/http": {"MLOPS_PORT_MLFLOW", 5000}, "evidently/http": {"MLOPS_PORT_EVIDENTLY", 8000},
	"airflow-api-server/http": {"MLOPS_PORT_AIRFLOW", 8080},
	"ray-head/dashboard":      {"MLOPS_PORT_RAY", 8265}, "ray-head/serve": {"MLOPS_PORT_SERVE", 8000},
}

// site is what the recipes see: the published ports, the head of Ray under the
// name that it has as a process.
func (d *docker) site(log io.Writer) *site {
	ports := maps.Clone(d.record.Ports)
	for _, p := range []string{"dashboard", "serve"} {
		ports["ray/"+p] = ports["ray-head/"+p]
	}
	return d.siteOf(ports, false, log)
}

// choosePorts gives each published port of the services that are going to run a
// number, which is reserved until its container has it. The others keep theirs.
func (d *docker) choosePorts(seen Status, want []service, reserved reserved) error {
	all := d.services(false)
	for _, v := range all {
		if !slices.ContainsFunc(want, func(w service) bool { return w.name == v.name }) {
			for _, p := range v.ports {
				key := v.name + "/" + p.name
				d.record.Ports[key] = cmp.Or(d.record.Ports[key], p.first)
			}
			continue
		}
		if i := slices.IndexFunc(seen.Services, func(o ServiceStatus) bool { return o.Name == v.name }); i >= 0 && seen.Services[i].State != StateStopped {
			continue
		}
		for _, p := range v.ports {
			key := v.name + "/" + p.name
			taken := func(n int) bool {
				for _, w := range all {
					for _, q := range w.ports {
						if k := w.name + "/" + q.name; k != key && (q.first == n || d.record.Ports[k] == n) {
							return true
						}
					}
				}
				return false
			}
			p.late = false
			free := func(n int) bool { ok, _ := reserved.take(n, d.home); return ok }
			n, why, err := choosePort(p, d.record.Ports[key], taken, free, holders)
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			if why != "" {
				d.tell(Event{Service: v.name, State: StatePreparing, Message: why})
			}
			d.record.Ports[key] = n
		}
	}
	return nil
}

// setScale takes over how many containers are wanted.
func (d *docker) setScale(scale map[string]int) error {
	for name, n := range scale {
		if !slices.Contains(scalable, name) || n < 0 {
			return &mlops.Error{Kind: mlops.ErrInvalid, Service: "compose", Op: "start",
				Message: fmt.Sprintf("%s=%d: only %s may have several containers", name, n, strings.Join(scalable, " and "))}
		}
		d.record.Scale[name] = n
	}
	return nil
}

// publishStack writes the stack file: where the services are that are ready.
func (d *docker) publishStack(st Status) error {
	endpoints := map[string]stackfile.Endpoint{}
	here := d.site(io.Discard)
	for _, v := range d.services(false) {
		for _, o := range st.Services {
			if o.Name == v.name && o.State == StateReady && v.endpoints != nil {
				maps.Copy(endpoints, v.endpoints(here))
			}
		}
	}
	if len(endpoints) == 0 {
		return stackfile.Remove(d.home)
	}
	return stackfile.Write(stackfile.Stack{
		Runtime: DockerRuntime, Home: d.home, Endpoints: endpoints,
		DVCRemote: stackfile.DVCInS3, DVCOptions: d.dvcOptions(),
		DAGs:     dagsFolder(here),
		Pythons:  pythons(d.home),
		ServeDir: serveDir(here),
		Command:  d.command,
	})
}
