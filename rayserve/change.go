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
// it build anew whatever has not been built to its end.
func (c *Client) change(ctx context.Context, op string, edit func(details, desired) (desired, error), seen func(details) bool) error {
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
	lost := kept{}
	if k.Session != v.Session { // Ray was started anew and has forgotten what is kept
		k.Config.HTTPOptions = c.here(k.Config.HTTPOptions)
		base, lost.Config = restore(d, base, k.Config)
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
		if err := c.putSoon(ctx, op, next); err != nil {
			return err
		}
	}
	if err := c.keep(kept{Session: v.Session, Config: next}); err != nil {
		return fmt.Errorf("rayserve: %s: the configuration is applied, but it cannot be kept for a restart of Ray: %w", op, err)
	}
	return c.until(ctx, op, seen)
}

// unchanged reports whether two configurations hold the same applications.
func unchanged(a, b desired) bool {
	return slices.EqualFunc(a.Applications, b.Applications, func(x, y json.RawMessage) bool { return same(x, y) })
}

// here is how Serve was started before, at the address where it is now: a
// stack that was started again may have another port.
func (c *Client) here(kept json.RawMessage) json.RawMessage {
	var o map[string]any
	if json.Unmarshal(kept, &o) != nil || o == nil {
		return kept
	}
	o["port"] = c.port
	b, err := json.Marshal(o)
	if err != nil {
		return kept
	}
	return b
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
// kept stops nobody else: Ray tells of the application that misses it.
func (c *Client) bring(ctx context.Context, op string, k kept) error {
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
// that are not there. It does not wait for them to run. Nothing kept, and
// nothing forgotten, is no error.
func Reapply(ctx context.Context, c *Client) error {
	const op = "Reapply"
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
