package compose

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

//go:embed mlflow_gc.py
var mlflowGC string

// Garbage is a run that was deleted, and that MLflow keeps, with its artifacts, so
// that it can be restored. Deleted experiments and logged models are none: MLflow
// gives the number of an experiment that was removed to a new one, on SQLite, and
// lets the files of both be used by others.
type Garbage struct {
	ID         string `json:"id"`
	Experiment string `json:"experiment"` // its ID
	Name       string `json:"name"`
	Deleted    int64  `json:"deleted"` // when, in ms
	SizeBytes  int64  `json:"bytes"`   // of the artifacts
	KeptFor    string `json:"kept_for,omitempty"`
	Removed    bool   `json:"removed,omitempty"` // with KeptFor: but for its files, which stay for that reason
}

// GarbageOptions say which garbage is meant. The zero value means all of it.
type GarbageOptions struct {
	OlderThan   time.Duration // deleted for longer than this; 0: however short
	Experiments []string      // IDs of the experiments that it belongs to; nil: any
}

// Garbage lists the runs that the running stack's MLflow has deleted and keeps. One
// that a registered version, a logged model, a deployment, another run or a trace
// still refers to has KeptFor, and so has one of which that is not known for sure.
//
// The error matches [mlops.ErrNotFound] if MLflow does not run, and
// [mlops.ErrUnsupported] for a stack in containers.
func (s *Stack) Garbage(ctx context.Context, o GarbageOptions) ([]Garbage, error) {
	return s.askGC(ctx, map[string]any{"older_than_ms": o.OlderThan.Milliseconds(), "experiments": o.Experiments})
}

// Collect removes for good what is in the list and has no KeptFor, first each run
// and then its artifacts, and returns it: what is gone is Removed, and the rest has
// KeptFor. What was restored, or is referred to, since it was listed stays.
func (s *Stack) Collect(ctx context.Context, list []Garbage) ([]Garbage, error) {
	chosen := slices.DeleteFunc(slices.Clone(list), func(g Garbage) bool { return g.KeptFor != "" })
	if len(chosen) == 0 {
		return nil, nil
	}
	return s.askGC(ctx, map[string]any{"collect": chosen})
}

// askGC runs mlflow_gc.py in MLflow's environment. Secrets are in the process's
// environment, never in its arguments or in a log.
func (s *Stack) askGC(ctx context.Context, question map[string]any) ([]Garbage, error) {
	rt, err := s.carrier()
	if err != nil {
		return nil, err
	}
	cmd, err := rt.collector(ctx)
	if err != nil {
		return nil, err
	}
	if question["deployed"], err = s.deployedRuns(ctx); err != nil {
		return nil, err
	}
	in, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	var answer, talk bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &answer, &talk
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "gc", Cause: err, Message: cmp.Or(exception(talk.String()), err.Error())}
	}
	var out []Garbage
	if err := json.Unmarshal(answer.Bytes(), &out); err != nil {
		return nil, fmt.Errorf("mlflow gc: %w", err)
	}
	return out, nil
}

var runID = regexp.MustCompile(`[0-9a-f]{32}`)

// deployedRuns are the IDs of runs that the desired Serve configuration names, and
// what Ray runs now, also for models that are no longer registered. It is an error
// if Ray runs and does not answer.
func (s *Stack) deployedRuns(ctx context.Context) ([]string, error) {
	file, err := stackfile.Read(s.home)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) {
		return nil, err
	}
	found := []string{}
	err = filepath.WalkDir(cmp.Or(file.ServeDir, filepath.Join(s.home, "data", "serve")), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		found = append(found, runID.FindAllString(string(b), -1)...)
		return err
	})
	if err != nil {
		return nil, err
	}
	ray, ok := file.Endpoints[stackfile.Ray]
	if !ok {
		return found, nil
	}
	token, err := ray.Secret()
	if err != nil {
		return nil, err
	}
	var all json.RawMessage // with arguments of applications that others deployed
	if err := probeJSON(ctx, ray.URL+"/api/serve/applications/", mlops.Auth{Token: token}, 30*time.Second, &all); err != nil {
		return nil, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "gc", Cause: err, Message: "nothing was removed, because it is not known which runs are deployed: " + err.Error()}
	}
	return append(found, runID.FindAllString(string(all), -1)...), nil
}

var exceptionLine = regexp.MustCompile(`(?m)^(?:\w+\.)*[A-Z]\w*[a-z]\w*: .+$`)

// exception is the line of what a Python program wrote that names its
// exception, else the last line. SQLAlchemy's continue with the statement, its
// parameters and an address with background.
func exception(talk string) string {
	if named := exceptionLine.FindAllString(talk, -1); named != nil {
		return named[len(named)-1]
	}
	lines := strings.Split(strings.TrimSpace(talk), "\n")
	return lines[len(lines)-1]
}

func (d *docker) collector(context.Context) (*exec.Cmd, error) {
	return nil, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "gc", Message: "the stack is in containers, which mlopsctl gc does not look into yet: nothing was removed"}
}

func (s processes) collector(ctx context.Context) (*exec.Cmd, error) {
	st, err := stackfile.Read(s.home)
	if err != nil {
		return nil, err
	}
	server, ok := st.Endpoints[stackfile.MLflow]
	if !ok {
		return nil, &mlops.Error{Kind: mlops.ErrNotFound, Service: "mlflow", Op: "gc", Message: "MLflow does not run; run: mlopsctl start mlflow"}
	}
	password, err := server.Secret()
	if err != nil {
		return nil, err
	}
	rec, err := readState(s.home)
	if err != nil {
		return nil, err
	}
	here := s.siteOf(rec.Ports, rec.Light, io.Discard)
	env, err := mlflowEnv(here)
	if err != nil {
		return nil, err
	}
	script := here.data("mlflow", "mlflow_gc.py")
	if err := writePrivate(script, mlflowGC); err != nil {
		return nil, err
	}
	env = append(env, "MLFLOW_TRACKING_URI="+server.URL, "MLFLOW_TRACKING_USERNAME="+server.Username, "MLFLOW_TRACKING_PASSWORD="+string(password),
		"MLFLOW_HTTP_REQUEST_MAX_RETRIES=1", "MLFLOW_HTTP_REQUEST_TIMEOUT=30", "AWS_MAX_ATTEMPTS=2") // a store that is away costs seconds
	cmd := exec.CommandContext(ctx, here.bin("mlflow", "python"), "-I", script)
	cmd.Env, cmd.Dir = environment(s.home, preparation("mlflow"), env), here.data("mlflow")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}
