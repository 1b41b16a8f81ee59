package stacktest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/testcontainers/testcontainers-go"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
)

// runtime is how the servers of this test binary run, and why.
type runtime struct {
	name   string // of compose
	engine string // where that of containers is; empty: where docker finds it
	why    string
}

func (r runtime) String() string {
	if r.name == compose.ProcessRuntime {
		return "servers are processes: " + r.why
	}
	return "servers are containers: " + r.why
}

// choose takes containers where an engine of this machine answers and docker
// has compose, unless MLOPS_RUNTIME decides.
func choose(ctx context.Context) (runtime, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	wish := os.Getenv("MLOPS_RUNTIME")
	switch wish {
	case compose.ProcessRuntime:
		return runtime{name: wish, why: "MLOPS_RUNTIME=" + wish}, nil
	case compose.DockerRuntime:
		at, _ := engine(ctx) // docker may know one that testcontainers does not, by a context
		return runtime{name: wish, engine: at, why: "MLOPS_RUNTIME=" + wish}, nil
	case "":
	default:
		return runtime{}, &mlops.Error{Kind: mlops.ErrInvalid, Message: fmt.Sprintf("MLOPS_RUNTIME=%s: there are process and docker", wish)}
	}
	at, err := engine(ctx)
	if err != nil {
		return runtime{name: compose.ProcessRuntime, why: "no container engine answers: " + firstLine(err.Error())}, nil
	}
	if !strings.HasPrefix(at, "unix://") {
		return runtime{name: compose.ProcessRuntime, why: "the container engine " + at + " may be another machine's; MLOPS_RUNTIME=docker takes it"}, nil
	}
	home, err := os.MkdirTemp("", "stacktest-") // of no stack
	if err != nil {
		return runtime{}, err
	}
	defer os.RemoveAll(home)
	s, err := compose.New(compose.Options{Home: home, Runtime: compose.DockerRuntime, Engine: at, Command: mlopsctl(home)})
	if err != nil {
		return runtime{}, err
	}
	found, err := s.Doctor(ctx)
	if err != nil {
		return runtime{name: compose.ProcessRuntime, why: "docker does not serve: " + err.Error()}, nil
	}
	for _, f := range found {
		if (f.Check == "engine" || f.Check == "compose plugin") && f.Severity == compose.SeverityFail {
			return runtime{name: compose.ProcessRuntime, why: f.Message}, nil
		}
	}
	return runtime{name: compose.DockerRuntime, engine: at, why: "the engine " + at + " answers"}, nil
}

// engine is where testcontainers-go finds a container engine that answers: by
// ~/.testcontainers.properties, DOCKER_HOST, or the usual sockets.
func engine(ctx context.Context) (at string, err error) {
	defer func() { // it panics where there is not even a socket
		if why := recover(); why != nil {
			err = fmt.Errorf("%v", why)
		}
	}()
	c, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Info(ctx); err != nil {
		return "", err
	}
	return c.DaemonHost(), nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
