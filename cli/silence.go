package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

const (
	answerTimeout = 5 * time.Second        // how long a command waits for MLflow before it continues without
	silenceLife   = 30 * time.Second       // for so long an MLflow that did not answer is not waited for again
	briefly       = 300 * time.Millisecond // how long it is listened to meanwhile, so that one that is back is noticed
)

// minds has the commands of a shell loop know what the one before them found out:
// that the project's MLflow does not answer. The note is an empty file of the
// home, named after the server's address. A command that insists on an answer
// does not look at it.
func (e *env) minds(c *cli.Context, server *mlflow.Client) {
	home, err := e.home()
	if err != nil || c.Bool("require-sent") || c.Duration("wait") > 0 {
		return
	}
	sum := sha256.Sum256([]byte(server.URL()))
	e.silence = filepath.Join(home, "spool", "silent-"+hex.EncodeToString(sum[:8]))
}

// answerWithin is how long a command that logs waits for an answer.
func (e *env) answerWithin() time.Duration {
	d := answerTimeout
	if e.timeout > 0 {
		d = min(e.timeout, d)
	}
	if info, err := os.Stat(e.silence); err == nil {
		if age := time.Since(info.ModTime()); age >= 0 && age < silenceLife {
			return min(briefly, d)
		}
	}
	return d
}

// heard notes whether MLflow answered. Without a note the next command waits again.
func (e *env) heard(err error, silent bool) {
	if e.silence == "" {
		return
	}
	answer, _ := errors.AsType[*mlops.Error](err)
	switch {
	case err == nil && !silent, answer != nil && answer.Status != 0:
		_ = os.Remove(e.silence)
	case silent && e.answerWithin() > briefly: // a note keeps its first time, so that the server is tried again
		if os.MkdirAll(filepath.Dir(e.silence), 0o700) == nil {
			_ = os.Remove(e.silence)
			_ = os.WriteFile(e.silence, nil, 0o600)
		}
	}
}
