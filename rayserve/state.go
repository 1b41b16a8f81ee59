package rayserve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/lockfile"
)

// keptApps is the desired configuration as the state folder holds it.
type keptApps struct {
	Session string  `json:"session"` // the Ray session it was written to; another one has forgotten it
	Config  desired `json:"config"`

	// Returned names the applications that this session had forgotten and was
	// given again; one that is deployed again leaves the list.
	Returned []string `json:"returned,omitempty"`
}

func (c *Client) keptFile() string { return filepath.Join(c.opt.StateDir, "serve.json") }

// recall reads what is kept; nothing kept is the zero value.
func (c *Client) recall() (keptApps, error) {
	var k keptApps
	b, err := os.ReadFile(c.keptFile())
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(b, &k); err != nil {
		return keptApps{}, fmt.Errorf("rayserve: %s is damaged (%w); remove it, and deploy the applications again that Ray has forgotten", c.keptFile(), err)
	}
	return k, nil
}

func (c *Client) keep(k keptApps) error {
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if err := atomicfile.Write(c.keptFile(), append(b, '\n'), 0o600); err != nil {
		return err
	}
	c.sweepPackages(k)
	return nil
}

// packages names the packages that the kept applications of ours run.
func (k keptApps) packages() []string {
	var out []string
	for _, raw := range k.Config.Applications {
		var a struct {
			RuntimeEnv runtimeEnv `json:"runtime_env"`
		}
		if !ours(raw) || json.Unmarshal(raw, &a) != nil {
			continue
		}
		if p := packageOf(a.RuntimeEnv.WorkingDir); p != "" && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// lock keeps other deployments out, of this process and of others on this
// machine, until the returned function is called: flock holds between any two
// descriptors.
func (c *Client) lock(ctx context.Context, op string) (unlock func(), err error) {
	if err := os.MkdirAll(c.opt.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("rayserve: the state folder: %w", err)
	}
	f, err := lockfile.Open(filepath.Join(c.opt.StateDir, "serve.lock"), 0o600)
	if err != nil {
		return nil, fmt.Errorf("rayserve: the lock: %w", err)
	}
	if err := lockfile.Wait(ctx, f, 20*time.Millisecond, nil); err != nil {
		f.Close()
		if ctx.Err() != nil {
			return nil, &mlops.Error{Kind: mlops.ErrConflict, Service: service, Op: op, Cause: err, Message: "another deployment holds " + f.Name()}
		}
		return nil, fmt.Errorf("rayserve: %w", err)
	}
	return func() { f.Close() }, nil
}

// wait lets d pass, or returns why ctx ended.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
