package stacktest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// Service is a server that a test may ask for.
type Service string

// The services. What one needs, as MLflow needs PostgreSQL, comes with it.
const (
	MLflow    Service = "mlflow"
	S3        Service = "s3"
	Postgres  Service = "postgres"
	Airflow   Service = "airflow"
	RayServe  Service = "ray"
	Evidently Service = "evidently"
)

// needs are what a service has to have installed: the names of
// [compose.SetupOptions].
var needs = map[Service][]string{
	MLflow: {"postgres", "mlflow"}, S3: {"s3"}, Postgres: {"postgres"}, Airflow: {"postgres", "airflow"},
	RayServe: {"postgres", "mlflow", "ray"}, Evidently: {"evidently"},
}

// Bucket is what S3 has from the beginning, for whatever a test keeps there.
const Bucket = stackfile.Bucket

// Stack is what a test uses of the servers.
type Stack struct {
	// Home is the MLOPS_HOME of the servers: client.WithHome(s.Home) finds
	// them all.
	Home string

	// Project is a name of this test alone, for what it makes on servers that
	// other tests use, too. It is one for client.FromProject.
	Project string

	t     testing.TB
	stack *compose.Stack
	file  stackfile.Stack
	inS3  bool
}

// Endpoint is where a server answers, and as whom.
type Endpoint struct {
	URL  string     // of Ray the dashboard, where Serve is configured
	Auth mlops.Auth // of S3 access key and secret key
}

// Start returns when the services answer. It fails the test if they do not.
func Start(t testing.TB, services ...Service) *Stack {
	t.Helper()
	s, err := start(t.Context(), t, services)
	if err != nil {
		t.Fatalf("stacktest: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = s.stack.Logs(context.Background(), t.Output(), compose.LogOptions{Services: names(services), Tail: 30})
		}
	})
	return s
}

// Endpoint is where a service answers that Start was asked for.
func (s *Stack) Endpoint(of Service) Endpoint {
	s.t.Helper()
	return s.endpoint(string(of))
}

// ServeURL is where models answer that were deployed to [RayServe].
func (s *Stack) ServeURL() string {
	s.t.Helper()
	return s.endpoint(stackfile.Serve).URL
}

func (s *Stack) endpoint(name string) Endpoint {
	s.t.Helper()
	e, ok := s.file.Endpoints[name]
	if !ok {
		s.t.Fatalf("stacktest: %s was not started; name it in Start", name)
	}
	secret, err := e.Secret()
	if err != nil {
		s.t.Fatalf("stacktest: %v", err)
	}
	auth := mlops.Auth{Username: e.Username, Password: secret}
	switch Service(name) {
	case RayServe:
		auth = mlops.Auth{Token: secret}
	case Evidently:
		auth = mlops.Auth{Token: secret, Header: "evidently-secret"}
	}
	return Endpoint{URL: e.URL, Auth: auth}
}

// Env is the environment in which the upstream tools' own programs find the
// servers, this process's included: for exec.Cmd. Data of projects is in S3, if
// that was asked for.
func (s *Stack) Env() []string {
	s.t.Helper()
	vars, err := s.stack.Env(context.Background())
	if err != nil {
		s.t.Fatalf("stacktest: %v", err)
	}
	out := os.Environ()
	for _, v := range vars {
		out = append(out, v.Name+"="+v.Value)
	}
	if s.inS3 {
		out = append(out, "MLOPS_DVC_REMOTE="+stackfile.DVCInS3)
	}
	return out
}

// Setenv sets what [Stack.Env] adds in this process, until the test ends: then
// client.FromProject finds the servers, as it does where a stack runs. As
// [testing.T.Setenv], it is not for parallel tests.
func (s *Stack) Setenv() {
	s.t.Helper()
	for _, v := range s.Env()[len(os.Environ()):] {
		name, value, _ := strings.Cut(v, "=")
		s.t.Setenv(name, value)
	}
}

// shared is the stack of this test binary.
var shared struct {
	sync.Mutex
	original string // the home whose installations are used; a test may change MLOPS_HOME later
	runtime  runtime
	home     string
	held     *os.File // the lock of home
	guard    int      // the process that guards containers
}

func start(ctx context.Context, t testing.TB, services []Service) (*Stack, error) {
	if len(services) == 0 {
		return nil, fmt.Errorf("no service is named")
	}
	var install []string
	for _, v := range services {
		n, ok := needs[v]
		if !ok {
			return nil, fmt.Errorf("no service is called %q", v)
		}
		install = append(install, n...)
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.original == "" {
		home, err := mlops.Home()
		if err != nil {
			return nil, err
		}
		shared.original = home
	}
	below := filepath.Join(shared.original, "stacktest")
	if shared.runtime.name == "" {
		var err error
		if shared.runtime, err = choose(ctx); err != nil {
			return nil, err
		}
		t.Logf("stacktest: %s", shared.runtime)
	}
	opt := compose.Options{Home: shared.original, Runtime: shared.runtime.name, Engine: shared.runtime.engine, Progress: func(e compose.Event) {
		t.Logf("%s %s %s: %s", e.Time.Format(time.TimeOnly), e.Service, e.State, e.Message)
	}}
	if opt.Runtime == compose.DockerRuntime {
		opt.Command = mlopsctl(shared.original)                                                     // of processes it is this test binary, their supervisor
		install = slices.DeleteFunc(install, func(name string) bool { return name != "evidently" }) // compares data here
	}
	original, err := compose.New(opt)
	if err != nil {
		return nil, err
	}
	if len(install) > 0 {
		if err := original.Setup(ctx, compose.SetupOptions{Environments: install}); err != nil {
			return nil, err
		}
	}
	if shared.held == nil {
		if shared.home, shared.held, err = claim(ctx, original, below, t.Logf); err != nil {
			return nil, err
		}
	}
	if opt.Runtime == compose.DockerRuntime && shared.guard == 0 { // before there is anything to guard
		if shared.guard, err = begin(shared.home); err != nil {
			return nil, err
		}
	}
	s, err := original.Twin(shared.home) // which tells its progress to this test
	if err != nil {
		return nil, err
	}
	if _, err := s.Start(ctx, compose.StartOptions{Services: names(services)}); err != nil {
		return nil, err
	}
	file, err := stackfile.Read(shared.home)
	if err != nil {
		return nil, err
	}
	return &Stack{Home: shared.home, Project: project(t.Name()), t: t, stack: s, file: file, inS3: slices.Contains(services, S3)}, nil
}

func names(services []Service) []string {
	var out []string
	for _, v := range services {
		out = append(out, string(v))
	}
	return out
}

// project makes a name of its own from one that is not.
func project(name string) string {
	var suffix [3]byte
	_, _ = rand.Read(suffix[:])
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	short := strings.Join(words, "-")
	short = strings.Trim(short[:min(len(short), 40)], "-")
	return strings.TrimPrefix(short+"-"+hex.EncodeToString(suffix[:]), "-")
}
