package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// passed are the variables of the caller that servers and preparations get.
var passed = []string{
	"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ",
	"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

// environment is the small clean environment of a service's processes. Its
// HOME is a folder of the stack, so that none of them reads the user's ~/.ray or
// ~/.config. Later entries win.
func environment(home, service string, extra []string) []string {
	var out []string
	for _, name := range passed {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	out = append(out, "HOME="+filepath.Join(home, "data", "home"), "DO_NOT_TRACK=1", "MLOPS_HOME="+home)
	out = append(out, extra...)
	out = append(out, proc.Mark(home, service))
	at := map[string]int{}
	kept := out[:0]
	for _, v := range out {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			kept[i] = v
			continue
		}
		at[name] = len(kept)
		kept = append(kept, v)
	}
	return kept
}

// process makes the exec.Cmd of c, in a session of its own, with its output
// appended to log.
func (c command) process(home, service string, log *os.File) *exec.Cmd {
	cmd := exec.Command(c.path, c.args...)
	cmd.Env = environment(home, service, c.env)
	cmd.Dir = c.dir
	if cmd.Dir == "" {
		cmd.Dir = filepath.Join(home, "data")
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.gid)}
	}
	return cmd
}

func openLog(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// siteOf makes the site that a recipe sees: the ports as they are now. It is for
// questions: it makes no secrets.
func (s *base) siteOf(ports map[string]int, light bool, log io.Writer) *site {
	return &site{home: s.home, ports: ports, light: light, log: log, command: s.command, looks: true}
}

// runner returns site.run for a service: the command runs in a session of its
// own, writes to log, and is ended, with all it started, when ctx ends.
func (s *Stack) runner(service string, log *os.File) func(context.Context, command) error {
	return func(ctx context.Context, c command) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		name := preparation(service)
		cmd := c.process(s.home, name, log)
		if err := cmd.Start(); err != nil {
			return err
		}
		main := proc.ID{PID: cmd.Process.Pid}
		if i, err := proc.Inspect(main.PID); err == nil {
			main = i.ID
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: %w", filepath.Base(c.path), err)
			}
			return nil
		case <-ctx.Done():
			err := proc.End(context.WithoutCancel(ctx), proc.Family{Main: main, Mark: proc.Mark(s.home, name)}, syscall.SIGTERM, 3*time.Second)
			<-done
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// preparation is the name under which a service's preparing commands run: they
// may be ended without the service.
func preparation(service string) string { return service + "/prepare" }

// endService ends whatever runs of a service, its preparations included.
func (s *Stack) endService(ctx context.Context, v service, r record) error {
	sig, grace := v.stop, v.grace
	if sig == 0 {
		sig = syscall.SIGTERM
	}
	if grace == 0 {
		grace = 10 * time.Second
	}
	return errors.Join(
		proc.End(ctx, proc.Family{Mark: proc.Mark(s.home, preparation(v.name))}, syscall.SIGTERM, 3*time.Second),
		proc.End(ctx, proc.Family{Main: r.Main, Seen: r.Seen, Mark: proc.Mark(s.home, v.name)}, sig, grace),
	)
}
