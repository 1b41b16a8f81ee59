package dvc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
	"github.com/mlops-integration/mlops/dvc/internal/lock"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Finding is one thing that [Repo.Doctor] looked at.
type Finding struct {
	Check string // layout, links, lock, temp, trash, config, uploads
	OK    bool
	Text  string
	Next  string // what to do; "" when nothing has to be done
}

// staleAfter is how old a temporary file is before it counts as abandoned.
const staleAfter = 24 * time.Hour

// Doctor looks at the health of the repository. It changes nothing but a file
// that it makes and removes to see which links are possible. With a remote's
// name ("" is the default one, if there is one) it asks that for uploads that
// were never finished.
func (r *Repo) Doctor(ctx context.Context, remoteName string) ([]Finding, error) {
	c, err := r.look()
	if err != nil {
		return nil, err
	}
	if c.root, err = os.OpenRoot(c.dir); err != nil {
		return nil, err
	}
	defer c.root.Close()
	d := &doctor{call: c, ctx: ctx}
	for _, check := range []func() error{d.layout, d.links, d.lock, d.temp, d.trash, d.config} {
		if err := check(); err != nil {
			return d.all, err
		}
		if err := ctx.Err(); err != nil {
			return d.all, err
		}
	}
	return d.all, d.uploads(remoteName)
}

type doctor struct {
	*call
	ctx context.Context
	all []Finding
}

func (d *doctor) good(check, format string, args ...any) {
	d.all = append(d.all, Finding{check, true, fmt.Sprintf(format, args...), ""})
}

func (d *doctor) bad(check, next, format string, args ...any) {
	d.all = append(d.all, Finding{check, false, fmt.Sprintf(format, args...), next})
}

func (d *doctor) layout() error {
	if err := d.read(d.ctx); err != nil {
		d.bad("layout", "repair the file", "%v", err)
		return nil
	}
	old, odd := 0, 0
	for _, o := range d.ix.outs {
		switch {
		case o.Odd != "":
			odd++
		case o.Legacy && o.ID != "":
			old++
		}
	}
	d.good("layout", "%d outputs, %d of them as dvc 2.x wrote them", len(d.ix.outs), old)
	if odd > 0 {
		d.bad("layout", "use dvc for them", "%d outputs are kept in ways that are not handled here", odd)
	}
	return nil
}

// links checks that a link type which is asked for works.
func (d *doctor) links() error {
	can, err := d.cache.PossibleLinks(d.dir)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("possible from the cache: %s; asked for: %s", strings.Join(can, ", "), strings.Join(d.cache.Links, ","))
	if !slices.ContainsFunc(d.cache.Links, func(k string) bool { return slices.Contains(can, k) }) {
		d.bad("links", "mlopsctl dvc config cache.type copy", "%s", text)
		return nil
	}
	d.good("links", "%s", text)
	return nil
}

func (d *doctor) lock() error {
	f, err := lock.Take(d.ctx, filepath.Join(d.dir, ".dvc", "tmp", "lock"), 0)
	switch {
	case errors.Is(err, mlops.ErrConflict):
		d.bad("lock", "wait for it", "%v", err)
		return nil
	case errors.Is(err, fs.ErrNotExist):
		d.good("lock", "free")
		return nil
	case err != nil:
		return err
	}
	defer f.Close()
	stale, err := d.staleHolders(d.ctx, false)
	if err != nil {
		d.bad("lock", "remove .dvc/tmp/rwlock if no dvc is running", "%v", err)
		return nil
	}
	for _, h := range stale {
		d.bad("lock", "mlopsctl dvc doctor --fix", "a program that has ended still holds %s", h)
	}
	if len(stale) == 0 {
		d.good("lock", "free")
	}
	return nil
}

// ClearLocks removes from dvc's lock file the entries of programs that have
// ended, which stop dvc when their pid is another program's by now. It returns
// what it removed.
func (r *Repo) ClearLocks(ctx context.Context) ([]string, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	return c.staleHolders(ctx, true)
}

func (d *doctor) temp() error {
	n, size := 0, int64(0)
	for _, dir := range []string{d.cache.Dir, filepath.Join(d.dir, ".dvc", "tmp")} {
		err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || !e.Type().IsRegular() || !cache.IsTemp(e.Name()) {
				return err
			}
			if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > staleAfter {
				n, size = n+1, size+fi.Size()
			}
			return d.ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	if killed, err := d.killed(); err != nil || killed {
		return err
	}
	if n > 0 {
		d.bad("temp", fmt.Sprintf("find %s -name '.*.tmp' -mtime +1 -delete", d.cache.Dir), "%d temporary files older than a day, %d bytes", n, size)
		return nil
	}
	d.good("temp", "no temporary files are left over")
	return nil
}

// killed tells of temporary files whose program cannot live any more. They need
// no care.
func (d *doctor) killed() (bool, error) {
	f, err := lock.Take(d.ctx, filepath.Join(d.dir, ".dvc", "tmp", "lock"), 0)
	if err != nil {
		return false, nil // a program is at work: see [doctor.lock]
	}
	defer f.Close()
	t, err := d.leftovers(false)
	if err != nil || t.Objects == 0 {
		return false, err
	}
	d.good("temp", "%d temporary files of killed programs, %d bytes; the next add, pull or gc --yes removes them", t.Objects, t.SizeBytes)
	return true, nil
}

func (d *doctor) trash() error {
	t, err := d.TrashSize(d.ctx)
	if err != nil {
		return err
	}
	d.good("trash", "%d objects, %d bytes", t.Objects, t.SizeBytes)
	return nil
}

// config looks for secrets that are committed and for a cache that the committed
// configuration puts elsewhere.
func (d *doctor) config() error {
	sections, _, err := levelNamed(d.levels(), config.Repo).Read()
	if err != nil {
		return err
	}
	risky := false
	for _, s := range sections {
		section := ini.SectionName(s.Name)
		for _, k := range s.Keys {
			option := strings.ToLower(k.Name)
			name := config.Name(section, option)
			if config.HoldsSecret(section, option, config.Value{Items: k.Items}.Text()) {
				risky = true
				d.bad("config", "change the secret, and set it with --local", ".dvc/config is committed and holds the secret %s", name)
			}
			if name == "cache.dir" && !object.Within(d.cache.Dir, d.dir) {
				risky = true
				d.bad("config", "look whether that is meant; gc there needs --projects", ".dvc/config puts the cache outside of the repository, at %s", d.cache.Dir)
			}
		}
	}
	if !risky {
		d.good("config", "no secret is committed")
	}
	return nil
}

func levelNamed(all []config.File, name config.Level) config.File {
	for _, l := range all {
		if l.Level == name {
			return l
		}
	}
	return config.File{}
}

func (d *doctor) uploads(name string) error {
	if name == "" {
		if _, err := d.cfg.DefaultRemote(); errors.Is(err, mlops.ErrNotFound) {
			return nil
		}
	}
	far, err := d.openPlace(d.ctx, &mover{}, name)
	if err != nil {
		d.bad("uploads", "see the remote's configuration", "%v", err)
		return nil
	}
	u, ok := far.Store.(remote.Uploads)
	if !ok {
		return nil
	}
	stale := 0
	for up, err := range u.Unfinished(d.ctx) {
		if err != nil {
			d.bad("uploads", "see whether the remote is reachable", "%v", err)
			return d.ctx.Err()
		}
		if time.Since(up.Began) > staleAfter {
			stale++
		}
	}
	if stale > 0 {
		d.bad("uploads", "take them back in the bucket, or let a lifecycle rule do it", "remote %q keeps %d uploads that were begun more than a day ago and never finished", far.name, stale)
		return nil
	}
	d.good("uploads", "remote %q keeps no unfinished uploads older than a day", far.name)
	return nil
}
