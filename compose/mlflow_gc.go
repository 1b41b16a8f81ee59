package compose

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

//go:embed mlflow_gc.py
var mlflowGC string

// GarbageKind is what a piece of [Garbage] was.
type GarbageKind string

// The kinds of garbage.
const (
	GarbageRun        GarbageKind = "run"
	GarbageModel      GarbageKind = "model" // a logged model
	GarbageExperiment GarbageKind = "experiment"
)

// Garbage is a run, logged model or experiment that was deleted, and that MLflow
// keeps, with its artifacts, so that the deletion can be taken back.
type Garbage struct {
	Kind       GarbageKind `json:"kind"`
	ID         string      `json:"id"`
	Experiment string      `json:"experiment"` // its ID
	Name       string      `json:"name"`
	SizeBytes  int64       `json:"bytes"`             // of the artifacts; an experiment's are those beside its runs'
	Unknown    bool        `json:"unknown,omitempty"` // some artifacts could not be listed
	KeptFor    string      `json:"kept_for,omitempty"`
}

// GarbageOptions say which garbage is meant. The zero value means all of it.
type GarbageOptions struct {
	OlderThan   time.Duration // deleted for longer than this; 0: however short
	Experiments []string      // IDs of the experiments that it belongs to; nil: any
}

// Garbage lists what the running stack's MLflow has deleted and keeps. What a
// version of a registered model is made of has KeptFor, the version's name, and
// is never collected.
//
// The error matches [mlops.ErrNotFound] if MLflow does not run, and
// [mlops.ErrUnsupported] for a stack in containers.
func (s *Stack) Garbage(ctx context.Context, o GarbageOptions) ([]Garbage, error) {
	out, err := s.askGC(ctx, map[string]any{"older_than_ms": o.OlderThan.Milliseconds(), "experiments": o.Experiments})
	if err != nil {
		return nil, err
	}
	for _, k := range out.Kept {
		out.Found = append(out.Found, Garbage{Kind: k.Kind, ID: k.ID, Name: k.Name, KeptFor: k.By})
	}
	return out.Found, nil
}

// Collect removes garbage for good, with its artifacts, by upstream's own
// "mlflow gc", and returns what is gone. What was restored since it was listed
// stays, and so does what has KeptFor.
func (s *Stack) Collect(ctx context.Context, list []Garbage) ([]Garbage, error) {
	chosen := []Garbage{}
	for _, g := range list {
		if g.KeptFor == "" {
			chosen = append(chosen, g)
		}
	}
	if len(chosen) == 0 {
		return nil, nil
	}
	out, err := s.askGC(ctx, map[string]any{"collect": chosen})
	if err == nil && out.Error != "" {
		err = &mlops.Error{Service: "mlflow", Op: "gc", Message: out.Error}
	}
	return out.Found, err
}

// garbageAnswer is what mlflow_gc.py answers.
type garbageAnswer struct {
	Found []Garbage
	Kept  []struct {
		Kind         GarbageKind
		ID, Name, By string
	}
	Error string
}

// askGC runs mlflow_gc.py in MLflow's environment. Secrets are in the process's
// environment, never in its arguments or in a log.
func (s *Stack) askGC(ctx context.Context, question any) (garbageAnswer, error) {
	var out garbageAnswer
	rt, err := s.carrier()
	if err != nil {
		return out, err
	}
	cmd, err := rt.collector(ctx)
	if err != nil {
		return out, err
	}
	in, err := json.Marshal(question)
	if err != nil {
		return out, err
	}
	var answer, talk bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &answer, &talk
	err = cmd.Run()
	if ctx.Err() != nil {
		return out, context.Cause(ctx)
	}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(talk.String()), "\n")
		return out, &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "gc", Cause: err, Message: cmp.Or(lines[len(lines)-1], err.Error())}
	}
	if err := json.Unmarshal(answer.Bytes(), &out); err != nil {
		return out, fmt.Errorf("mlflow gc: %w", err)
	}
	return out, nil
}

func (d *docker) collector(context.Context) (*exec.Cmd, error) {
	return nil, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "gc", Message: "the stack is in containers; run mlflow gc in the one of MLflow"}
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
	env = append(env, "MLFLOW_TRACKING_URI="+server.URL, "MLFLOW_TRACKING_USERNAME="+server.Username, "MLFLOW_TRACKING_PASSWORD="+string(password))
	cmd := exec.CommandContext(ctx, here.bin("mlflow", "python"), "-I", script)
	cmd.Env, cmd.Dir = environment(s.home, preparation("mlflow"), env), here.data("mlflow")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd, nil
}
