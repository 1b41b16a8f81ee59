package airflow

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

//go:embed judge.py
var judgeProgram []byte

// judge reports whether Airflow can read the DAG's file, before it takes the
// place of another. The error matches [mlops.ErrInvalid] and holds an
// [*ImportError] if Airflow cannot.
//
// An interpreter of the server's Airflow is asked if there is one: it sees the
// file in a scratch folder and reaches neither the server nor its database.
// Otherwise the server is asked, under a trial ID.
func (c *Client) judge(ctx context.Context, dir, python string, d DAGSpec) error {
	if python != "" {
		verdict, err := ask(ctx, python, d)
		switch {
		case err == nil && verdict == "":
			return nil
		case err == nil:
			return unreadable(&ImportError{Time: time.Now(), File: fileName(d.ID), StackTrace: verdict})
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		// An interpreter that cannot judge decides nothing.
	}
	return c.try(ctx, dir, d)
}

func unreadable(e *ImportError) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: "Declare", Cause: e}
}

// ask runs the DAG's file in an interpreter; the verdict is empty if Airflow
// can read it.
func ask(ctx context.Context, python string, d DAGSpec) (verdict string, err error) {
	scratch, err := os.MkdirTemp("", "mlops-dag-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	file, err := WriteDAG(scratch, d)
	if err != nil {
		return "", err
	}
	program, answer := filepath.Join(scratch, "judge.py"), filepath.Join(scratch, "verdict.json")
	if err := os.WriteFile(program, judgeProgram, 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, python, "-I", program, file, answer)
	cmd.Dir = scratch
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + scratch, "TMPDIR=" + scratch,
		"AIRFLOW_HOME=" + filepath.Join(scratch, "airflow"), // without the server's configuration
		"AIRFLOW__CORE__LOAD_EXAMPLES=False",
		"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=sqlite:///" + filepath.Join(scratch, "none.db"), // is never opened
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", python, err, lastLine(string(out)))
	}
	b, err := os.ReadFile(answer)
	if err != nil {
		return "", err
	}
	err = json.Unmarshal(b, &verdict)
	return verdict, err
}

// trialPrefix begins the IDs under which a server judges files.
const trialPrefix = "mlops-trial."

// try has the server read the declaration under an ID of its own, which is
// removed again. Nothing of a trial runs: it is paused.
func (c *Client) try(ctx context.Context, dir string, d DAGSpec) error {
	sweepTrials(dir)
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	d.ID, d.Paused = trialPrefix+hex.EncodeToString(b[:]), true
	if _, err := WriteDAG(dir, d); err != nil {
		return err
	}
	_, err := c.WaitDAG(ctx, d)
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if errors.Is(err, mlops.ErrInvalid) { // what the server could not read it does not know
		return errors.Join(err, RemoveDAG(dir, d.ID, d.Project))
	}
	_ = c.Remove(end, dir, d.ID, d.Project) // the verdict holds even if the server keeps the trial
	return err
}

// sweepTrials removes what killed programs left behind.
func sweepTrials(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, trialPrefix+"*.py"))
	for _, file := range left {
		if info, err := os.Stat(file); err == nil && time.Since(info.ModTime()) > time.Hour {
			_ = os.Remove(file)
		}
	}
}

// lastLine is the last line of s that is not empty.
func lastLine(s string) string {
	last := s
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
	}
	return last
}
