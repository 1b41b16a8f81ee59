package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// probes has no proxy, no redirects and no memory of connections: a probe must
// reach the process that listens now, and no other.
var probes = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// probe asks once and returns the status and the first MiB of the answer.
func probe(ctx context.Context, method, url string, auth mlops.Auth, timeout time.Duration) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, nil, err
	}
	auth.Apply(req.Header)
	resp, err := probes.Do(req)
	if err != nil {
		if u := errors.Unwrap(err); u != nil {
			err = u
		}
		return 0, nil, fmt.Errorf("no answer from %s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, b, err
}

// probeJSON asks once for an object, and takes only status 200.
func probeJSON(ctx context.Context, url string, auth mlops.Auth, timeout time.Duration, out any) error {
	status, body, err := probe(ctx, "GET", url, auth, timeout)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("%s answered %d", url, status)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s answered what is not JSON: %w", url, err)
	}
	return nil
}

// writePrivate replaces a file whole, with mode 0600, if its content differs.
func writePrivate(file, content string) error {
	if b, err := os.ReadFile(file); err == nil && string(b) == content && privateFile(file) == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(file, []byte(content), 0o600)
}

// parted takes the password out of a database address and returns both, the
// password as a line of a libpq password file: an address ends up in process
// lists and error messages.
func parted(dsn string) (address, pgpass string, err error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", "", errors.New("the database address cannot be read") // err may hold the password
	}
	pw, _ := u.User.Password()
	name := u.User.Username()
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace
	pgpass = strings.Join([]string{u.Hostname(), u.Port(), "*", escape(name), escape(pw)}, ":") + "\n"
	u.User = url.User(name)
	return u.String(), pgpass, nil
}

// python is what every Python server of ours has in its environment: no
// telemetry, output at once, and few memory arenas.
func pythonEnv() []string {
	return []string{
		"PYTHONUNBUFFERED=1",
		"PYTHONNOUSERSITE=1",
		"DO_NOT_TRACK=1",
		"MALLOC_ARENA_MAX=2",
	}
}
