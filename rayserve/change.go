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
)

// change reads the cluster's configuration, lets edit alter it, writes it and
// waits until Ray shows it, all under the lock: what one deployment writes is
// what the next one reads. What Ray has already is not sent again: a PUT makes
// it rebuild whatever has not been built to its end.
func (c *Client) change(ctx context.Context, op string, edit func(details, desired) (desired, error), seen func(details) bool) error {
	if err := c.usable(op); err != nil {
		return err
	}
	unlock, err := c.lock(ctx, op)
	if err != nil {
		return err
	}
	defer unlock()

	d, err := c.cluster(ctx, op)
	if err != nil {
		return err
	}
	v, err := c.version(ctx, op)
	if err != nil {
		return err
	}
	k, err := c.recall()
	if err != nil {
		return err
	}
	base := d.declared()
	lost := keptApps{}
	if k.Session != v.Session { // Ray was restarted and has forgotten what is kept
		if k, err = c.mended(k); err != nil {
			return err
		}
		base, lost.Config = restore(d, base, k.Config)
		k.Returned = lost.Config.names()
	}
	next, err := edit(d, base)
	if err != nil {
		return err
	}
	if next, err = c.settings(next); err != nil {
		return err
	}
	if err := c.bring(ctx, op, lost); err != nil {
		return err
	}
	if !unchanged(d.declared(), next) {
		if err := c.putSoon(ctx, op, next); err != nil && !c.taken(ctx, op, next, err) {
			return err
		}
	}
	returned := slices.DeleteFunc(k.Returned, func(name string) bool { return !same(next.app(name), base.app(name)) })
	if err := c.keep(keptApps{Session: v.Session, Config: next, Returned: returned}); err != nil {
		return fmt.Errorf("rayserve: %s: the configuration is applied, but it cannot be kept for a restart of Ray: %w", op, err)
	}
	return c.until(ctx, op, seen)
}

// unchanged reports whether two configurations hold the same applications, in
// any order.
func unchanged(a, b desired) bool {
	return len(a.Applications) == len(b.Applications) &&
		!slices.ContainsFunc(a.Applications, func(x json.RawMessage) bool { return !same(x, b.app(nameOf(x))) })
}

// taken reports whether Ray has the configuration although the PUT failed: its
// answer may have been lost.
func (c *Client) taken(ctx context.Context, op string, next desired, err error) bool {
	if !errors.Is(err, mlops.ErrUnavailable) {
		return false
	}
	d, err := c.cluster(ctx, op)
	return err == nil && unchanged(d.declared(), next)
}

// restore adds the kept applications that Ray does not have, and returns them
// also alone.
func restore(d details, base, k desired) (all, lost desired) {
	if base.HTTPOptions == nil { // Serve does not run: start it as before
		base.ProxyLocation, base.HTTPOptions = k.ProxyLocation, k.HTTPOptions
		base.GRPCOptions, base.TargetCapacity = k.GRPCOptions, k.TargetCapacity
	}
	for _, raw := range k.Applications {
		if _, there := d.Applications[nameOf(raw)]; !there {
			base = base.with(nameOf(raw), raw)
			lost.Applications = append(lost.Applications, raw)
		}
	}
	return base, lost
}

// bring uploads the kept packages of the applications in k. One that is not
// kept does not fail the others: Ray reports the application that needs it.
func (c *Client) bring(ctx context.Context, op string, k keptApps) error {
	for _, name := range k.packages() {
		data, err := os.ReadFile(filepath.Join(c.opt.StateDir, "packages", name))
		if errors.Is(err, fs.ErrNotExist) {
			c.opt.Logger.Warn("a package that a kept application runs is gone", "service", service, "op", op, "package", name)
			continue
		}
		if err != nil {
			return fmt.Errorf("rayserve: %s: a package that a kept application runs: %w", op, err)
		}
		if err := c.upload(ctx, op, name, data); err != nil {
			return err
		}
	}
	return nil
}

// putSoon sends the configuration, again and again for a minute while Serve
// is shutting down (a DELETE is answered before it is done) or coming back.
func (c *Client) putSoon(ctx context.Context, op string, d desired) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := c.put(ctx, op, d)
		if e, ok := errors.AsType[*mlops.Error](err); !ok || e.Code != "ActorDiedError" {
			return err
		}
		if wait(ctx, c.opt.PollEvery) != nil {
			return err
		}
	}
}

// until waits for Ray to show what was written. Ray applies a PUT before it
// answers, so this is one look, almost always.
func (c *Client) until(ctx context.Context, op string, seen func(details) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errNotShown)
	defer cancel()
	for {
		d, err := c.cluster(ctx, op)
		if err == nil && seen(d) {
			return nil
		}
		if err != nil && !errors.Is(err, mlops.ErrUnavailable) {
			return err
		}
		if cause := wait(ctx, min(c.opt.PollEvery, 100*time.Millisecond)); cause != nil {
			return &mlops.Error{Kind: mlops.ErrUnavailable, Service: service, Op: op, Cause: cause}
		}
	}
}

var errNotShown = errors.New("the configuration was taken but does not show; another program writes to this cluster, or Serve is stuck")

// Reapply brings back what Ray forgot when its head was stopped: it waits for
// the dashboard, uploads the kept packages and declares the kept applications
// that are not there. It does not wait for them to run; [Client.Returned] lists
// them. Nothing kept, and nothing forgotten, is no error.
//
// Applications that were kept by an earlier version of this package are brought
// up to date: they run the embedded builder, and those that named a loopback
// address as the MLflow of Options.MLflow name none.
func Reapply(ctx context.Context, c *Client) error {
	const op = "Reapply"
	if err := c.usable(op); err != nil {
		return err
	}
	k, err := c.recall()
	if err != nil || len(k.Config.Applications) == 0 {
		return err
	}
	v, err := c.version(ctx, op)
	for errors.Is(err, mlops.ErrUnavailable) {
		if wait(ctx, c.opt.PollEvery) != nil {
			return err
		}
		v, err = c.version(ctx, op)
	}
	if err != nil || v.Session == k.Session {
		return err
	}
	var want desired
	return c.change(ctx, op, func(_ details, base desired) (desired, error) {
		want = base
		return base, nil
	}, func(d details) bool {
		for _, raw := range want.Applications {
			if _, there := d.Applications[nameOf(raw)]; !there {
				return false
			}
		}
		return true
	})
}
