package compose

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// engineClient is what the clients of the engine are marked as: they are found
// by it when the program that started them is dead.
const engineClient = "docker"

// environ is the caller's environment, which says where the engine is, with
// what compose.yaml wants to know.
func (d *docker) environ() ([]string, error) {
	tags, err := d.tags()
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(),
		"MLOPS_STACK="+d.name(),
		"MLOPS_SECRETS="+d.secrets(),
		"MLOPS_DAGS="+dagsFolder(d.siteOf(nil, false, nil)),
		"MLOPS_PROJECTS="+d.projects(),
		"MLOPS_CPUS="+strconv.Itoa(min(2, goruntime.NumCPU())),
		"COMPOSE_PROGRESS=plain", "COMPOSE_ANSI=never", "COMPOSE_MENU=false",
		proc.Mark(d.home, engineClient),
	)
	if d.record.Engine != "" {
		env = append(env, "DOCKER_HOST="+d.record.Engine)
	}
	for key, p := range publishedPorts() {
		if n := d.record.Ports[key]; n != 0 {
			env = append(env, p.variable+"="+strconv.Itoa(n))
		}
	}
	for target, tag := range tags {
		env = append(env, imageVariables[target]+"="+tag)
	}
	return env, nil
}

// docker runs the engine's client, tells each line of what it says to heard,
// which may be nil, and returns its output. The error carries its last words.
func (d *docker) docker(ctx context.Context, heard func(string), args ...string) ([]byte, error) {
	env, err := d.environ()
	if err != nil {
		return nil, err
	}
	path, err := exec.LookPath("docker")
	if err != nil {
		return nil, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Message: "there is no docker on PATH; install Docker, or use --runtime process, which needs none"}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = env
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	var out, said bytes.Buffer
	read, write := io.Pipe()
	told := make(chan struct{})
	go func() {
		defer close(told)
		lines := bufio.NewScanner(read)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" {
				said.WriteString(line + "\n")
				if heard != nil {
					heard(line)
				}
			}
		}
		_, _ = io.Copy(io.Discard, read)
	}()
	if heard != nil {
		cmd.Stdout = io.MultiWriter(&out, write)
	} else {
		cmd.Stdout = &out
	}
	cmd.Stderr = write
	err = cmd.Run()
	write.Close()
	<-told
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out.Bytes(), dockerError(args, err, said.String())
}

// dockerError makes one sentence of what the client said before it failed.
func dockerError(args []string, err error, said string) error {
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := strings.Join(lines[max(0, len(lines)-3):], "; ")
	e := &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Message: "docker " + strings.Join(args[:min(2, len(args))], " ") + ": " + last, Cause: err}
	switch {
	case strings.Contains(said, "Cannot connect to the Docker daemon"), strings.Contains(said, "failed to connect to the docker API"):
		e.Message = "no Docker engine answers; start it, or name it in DOCKER_HOST, or use --runtime process, which needs none"
	case strings.Contains(said, "permission denied") && strings.Contains(said, "docker"):
		e.Kind, e.Message = mlops.ErrForbidden, "you may not use this Docker engine: "+last
	case strings.Contains(said, "is not a docker command"), strings.Contains(said, "unknown shorthand flag: 'f'"), strings.Contains(said, "unknown flag: --short"):
		e.Kind, e.Message = mlops.ErrUnsupported, "docker has no compose plugin; install docker-compose-plugin"
	}
	return e
}

// compose runs the compose plugin for this stack.
func (d *docker) compose(ctx context.Context, heard func(string), args ...string) ([]byte, error) {
	return d.docker(ctx, heard, d.composeArgs(args...)...)
}

func (d *docker) composeArgs(args ...string) []string {
	dir := filepath.Join(d.files(), "docker")
	files := []string{"-f", filepath.Join(dir, "compose.yaml")}
	if isTwin(d.home) {
		files = append(files, "-f", filepath.Join(dir, "twin.yaml"))
	}
	return slices.Concat([]string{"compose"}, files, []string{"--project-directory", dir, "-p", d.name()}, args)
}

// logs writes what the containers say to w.
func (d *docker) logs(ctx context.Context, w io.Writer, opt LogOptions) error {
	names, err := resolve(d.services(false), opt.Services, false)
	if err != nil {
		return err
	}
	if _, err := os.Stat(d.files()); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	args := []string{"logs", "--no-color"}
	if len(opt.Services) == 1 && len(names) == 1 {
		args = append(args, "--no-log-prefix")
	}
	if opt.Follow {
		args = append(args, "--follow")
	}
	if opt.Since > 0 {
		args = append(args, "--since", opt.Since.String())
	}
	if opt.Tail > 0 {
		args = append(args, "--tail", strconv.Itoa(opt.Tail))
	}
	for _, v := range names {
		args = append(args, v.name)
	}
	env, err := d.environ()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "docker", d.composeArgs(args...)...)
	var said bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, w, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if opt.Follow && ctx.Err() != nil {
		return nil
	}
	if err != nil && said.Len() == 0 {
		return fmt.Errorf("docker compose logs: %w", err)
	}
	return dockerError(args, err, said.String())
}
