package dvc

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
)

// Remote is a configured remote.
type Remote struct {
	Name    string
	URL     string // a directory's absolute path, or scheme://…; without a password
	Level   Level  // where its URL is set
	Default bool   // core.remote names it
}

// Remotes lists the configured remotes by name.
func (r *Repo) Remotes() ([]Remote, error) {
	cfg, err := r.config()
	if err != nil {
		return nil, err
	}
	var out []Remote
	for _, rem := range cfg.Remotes() {
		out = append(out, Remote{rem.Name, rem.URL, Level(rem.Level), rem.Default})
	}
	return out, nil
}

// DefaultRemote returns the remote that core.remote names.
//
// The error matches [mlops.ErrNotFound] if none is named, or it has no URL.
func (r *Repo) DefaultRemote() (Remote, error) {
	cfg, err := r.config()
	if err != nil {
		return Remote{}, err
	}
	rem, err := cfg.DefaultRemote()
	return Remote{rem.Name, rem.URL, Level(rem.Level), rem.Default}, err
}

// AddRemoteOptions are options of [Repo.AddRemote].
type AddRemoteOptions struct {
	Default bool  // make it core.remote
	Level   Level // where to write it; "" is the repository's, which is committed
	Force   bool  // change the URL of an existing remote
}

// AddRemote writes a remote into the configuration, with the bytes that dvc
// remote add writes into a configuration of its own making. Other lines of
// the file, comments too, stay as they are. Names are folded to lower case.
//
// A relative url is a directory relative to the directory given to [Open]. A
// URL with a password is refused for .dvc/config, which is committed.
//
// The error matches [mlops.ErrAlreadyExists] if the file has such a remote and
// Force is not set.
func (r *Repo) AddRemote(ctx context.Context, name, url string, o AddRemoteOptions) error {
	name = strings.ToLower(name)
	if err := config.CheckRemote(name); err != nil {
		return err
	}
	if url == "" || strings.ContainsAny(url, "\r\n\x00") {
		return fail(mlops.ErrInvalid, "remote url %q", address.Redact(url))
	}
	at := cmp.Or(o.Level, LevelRepo)
	if address.Redact(url) != url && at == LevelRepo {
		return fail(mlops.ErrInvalid, "remote url with a password would be committed; use LevelLocal, or a url without it")
	}
	err := r.edit(ctx, at, func(l config.File, data []byte, sections []ini.Section) ([]byte, error) {
		if !o.Force && slices.ContainsFunc(sections, func(s ini.Section) bool { return ini.SectionName(s.Name) == config.RemoteSection(name) }) {
			return nil, fail(mlops.ErrAlreadyExists, "there is a remote %q already", name)
		}
		stored, err := r.storedPath(url, filepath.Dir(l.Path))
		if err != nil {
			return nil, err
		}
		data = ini.Set(data, sections, config.RemoteSection(name), "url", stored)
		if !o.Default {
			return data, nil
		}
		if sections, err = ini.Parse(data); err != nil {
			return nil, err
		}
		return ini.Set(data, sections, "core", "remote", name), nil
	})
	if err == nil {
		r.bind(config.RemoteSection(name), "url")
	}
	return err
}

// ModifyRemote sets an option of a configured remote at a level, "" being the
// repository's; see [Repo.Set].
//
// The error matches [mlops.ErrNotFound] if there is no such remote.
func (r *Repo) ModifyRemote(ctx context.Context, name, option, val string, at Level) error {
	if err := r.needRemote(name); err != nil {
		return err
	}
	return r.Set(ctx, "remote."+name+"."+option, val, at)
}

// SetDefaultRemote makes a configured remote core.remote at a level, "" being
// the repository's; an empty name takes core.remote away there.
//
// The error matches [mlops.ErrNotFound] if there is no such remote.
func (r *Repo) SetDefaultRemote(ctx context.Context, name string, at Level) error {
	if name == "" {
		return r.Unset(ctx, "core.remote", at)
	}
	if err := r.needRemote(name); err != nil {
		return err
	}
	return r.Set(ctx, "core.remote", name, at)
}

// RemoveRemote takes a remote out of a level's file, "" being the repository's,
// and core.remote from there and from the stronger levels where it names it.
// What a stronger level adds to the remote (a secret, mostly) goes with it,
// unless it has a URL of its own: dvc would refuse a remote without one.
//
// The error matches [mlops.ErrNotFound] if that level has no such remote.
func (r *Repo) RemoveRemote(ctx context.Context, name string, at Level) error {
	name, at = strings.ToLower(name), cmp.Or(at, LevelRepo)
	err := r.edit(ctx, at, func(l config.File, data []byte, sections []ini.Section) ([]byte, error) {
		data, ok := ini.RemoveSection(data, sections, config.RemoteSection(name))
		if !ok {
			return nil, noRemoteAt(name, l)
		}
		return data, nil
	})
	if err != nil {
		return err
	}
	err = r.editAbove(ctx, at, func(_ config.File, data []byte, sections []ini.Section) ([]byte, error) {
		for _, s := range sections {
			if ini.SectionName(s.Name) == config.RemoteSection(name) && !s.Has("url") {
				data, _ = ini.RemoveSection(data, sections, config.RemoteSection(name))
				break
			}
		}
		return data, nil
	})
	if err != nil {
		return err
	}
	return r.replaceDefault(ctx, name, "", at)
}

// RenameRemote gives a remote of a level, "" being the repository's, another
// name, and core.remote with it, there and at the stronger levels. What those
// add to the remote is renamed, too.
//
// The error matches [mlops.ErrNotFound] if that level has no such remote, and
// [mlops.ErrAlreadyExists] if the new name is taken.
func (r *Repo) RenameRemote(ctx context.Context, from, to string, at Level) error {
	from, to, at = strings.ToLower(from), strings.ToLower(to), cmp.Or(at, LevelRepo)
	if err := config.CheckRemote(to); err != nil {
		return err
	}
	c, err := r.config()
	if err != nil {
		return err
	}
	if c.HasRemote(to) {
		return fail(mlops.ErrAlreadyExists, "there is a remote %q already", to)
	}
	err = r.edit(ctx, at, func(l config.File, data []byte, sections []ini.Section) ([]byte, error) {
		data, ok := ini.RenameSection(data, sections, config.RemoteSection(from), config.RemoteSection(to))
		if !ok {
			return nil, noRemoteAt(from, l)
		}
		return data, nil
	})
	if err != nil {
		return err
	}
	err = r.editAbove(ctx, at, func(_ config.File, data []byte, sections []ini.Section) ([]byte, error) {
		data, _ = ini.RenameSection(data, sections, config.RemoteSection(from), config.RemoteSection(to))
		return data, nil
	})
	if err != nil {
		return err
	}
	return r.replaceDefault(ctx, from, to, at)
}

// editAbove changes the files of all levels stronger than at.
func (r *Repo) editAbove(ctx context.Context, at Level, change func(l config.File, data []byte, sections []ini.Section) ([]byte, error)) error {
	levels := r.levels()
	i := slices.IndexFunc(levels, func(l config.File) bool { return l.Level == config.Level(at) })
	for _, l := range levels[i+1:] {
		if err := r.edit(ctx, Level(l.Level), change); err != nil {
			return err
		}
	}
	return nil
}

// replaceDefault changes core.remote where it is from, at a level and at all
// that are stronger; to "" takes it away.
func (r *Repo) replaceDefault(ctx context.Context, from, to string, at Level) error {
	levels := r.levels()
	first := slices.IndexFunc(levels, func(l config.File) bool { return l.Level == config.Level(at) })
	for _, l := range levels[first:] {
		s, err := r.Setting("core.remote", Level(l.Level))
		if err != nil || !strings.EqualFold(s.Value, from) {
			continue
		}
		if to == "" {
			err = r.Unset(ctx, "core.remote", Level(l.Level))
		} else {
			err = r.Set(ctx, "core.remote", to, Level(l.Level))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Repo) needRemote(name string) error {
	c, err := r.config()
	if err != nil {
		return err
	}
	if !c.HasRemote(strings.ToLower(name)) {
		return fail(mlops.ErrNotFound, "remote %q is not configured; run: mlopsctl dvc remote add %s <url>", name, name)
	}
	return nil
}

func noRemoteAt(name string, l config.File) error {
	return fail(mlops.ErrNotFound, "remote %q is not in %s", name, l.Path)
}
