package compose

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
)

// locks are the requirements of each environment, every file of every version
// by its hash and without the address of an index: whichever index or mirror
// the user's uv is set to, it has to give these bytes.
//
// scripts/relock.sh writes them.
//
//go:embed locks/*.txt
var locks embed.FS

// servers are the environments of the stack's own servers.
var servers = []string{"mlflow", "airflow", "ray", "evidently"}

// onRequest are environments for programs that run beside the servers.
var onRequest = []string{"train", "dvc", "mlflow2"}

// supplements are what the images of the Docker runtime install beside the lock
// whose name theirs begins with.
var supplements = []string{"mlflow-s3", "airflow-celery"}

// environments lists all that have a lock.
func environments() []string { return slices.Concat(servers, onRequest) }

// pin is one locked distribution.
type pin struct {
	name, version string
	always        bool // wanted on every platform and Python
}

// lockText returns the lock of an environment and its SHA-256.
func lockText(venv string) (text, sum string, err error) {
	b, err := locks.ReadFile("locks/" + venv + ".txt")
	if err != nil {
		return "", "", &mlops.Error{Kind: mlops.ErrInvalid, Service: "compose", Message: fmt.Sprintf("no environment is called %q; there are %s", venv, strings.Join(append(environments(), "s3", "postgres"), ", "))}
	}
	h := sha256.Sum256(b)
	return string(b), hex.EncodeToString(h[:]), nil
}

var pinLine = regexp.MustCompile(`^([A-Za-z0-9._-]+)==([^\s;\\]+)\s*(;[^\\]*)?\\?$`)

// lockPins returns what a lock pins. One name may come in several versions,
// each for some platforms.
func lockPins(text string) []pin {
	var out []pin
	for line := range strings.Lines(text) {
		if m := pinLine.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			out = append(out, pin{name: canonical(m[1]), version: m[2], always: m[3] == ""})
		}
	}
	return out
}

var separators = regexp.MustCompile(`[-_.]+`)

// canonical is a distribution's name as PEP 503 compares it.
func canonical(name string) string {
	return separators.ReplaceAllString(strings.ToLower(name), "-")
}

// lockedVersion is the version of a distribution that an environment has on
// every platform.
func lockedVersion(venv, name string) (string, error) {
	text, _, err := lockText(venv)
	if err != nil {
		return "", err
	}
	for _, p := range lockPins(text) {
		if p.name == name && p.always {
			return p.version, nil
		}
	}
	return "", fmt.Errorf("the lock of %s has no %s", venv, name)
}
