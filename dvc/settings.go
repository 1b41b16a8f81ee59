package dvc

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
)

// Level is a level of the configuration, a file.
type Level string

// The levels of the configuration, the weakest first.
const (
	LevelSystem Level = "system"
	LevelGlobal Level = "global"
	LevelRepo   Level = "repo"  // .dvc/config, which is committed
	LevelLocal  Level = "local" // .dvc/config.local, which git ignores
)

// Setting is one option of the configuration.
type Setting struct {
	Name  string // core.remote, remote.store.url
	Value string // of a path: absolute; of a secret: [redacted]
	Level Level
	File  string // absolute
}

// Settings lists the options of one level, or of all levels when at is "", in
// the order of the files. The stronger level comes later.
func (r *Repo) Settings(at Level) ([]Setting, error) {
	if err := opened(r); err != nil {
		return nil, err
	}
	levels, err := r.levelsAt(at)
	if err != nil {
		return nil, err
	}
	var out []Setting
	for _, l := range levels {
		sections, _, err := l.Read()
		if err != nil {
			return nil, err
		}
		for _, s := range sections {
			section := ini.SectionName(s.Name)
			for _, k := range s.Keys {
				option := strings.ToLower(k.Name)
				v := config.Value{Items: k.Items, Level: l.Level, Dir: filepath.Dir(l.Path)}
				out = append(out, Setting{config.Name(section, option), v.Public(section, option), Level(l.Level), l.Path})
			}
		}
	}
	return out, nil
}

// Setting returns the option called name (core.remote, remote.store.url) as it
// holds, or as one level has it.
//
// The error matches [mlops.ErrNotFound] if it is not set.
func (r *Repo) Setting(name string, at Level) (Setting, error) {
	if _, _, err := config.Split(name); err != nil {
		return Setting{}, err
	}
	all, err := r.Settings(at)
	if err != nil {
		return Setting{}, err
	}
	for _, s := range slices.Backward(all) {
		if strings.EqualFold(s.Name, name) {
			return s, nil
		}
	}
	return Setting{}, fail(mlops.ErrNotFound, "option %s is not set", name)
}

// Set gives an option a value, in the bytes that dvc config and dvc remote
// modify write; other lines, comments too, stay. at is a level, "" the
// repository's. A relative path is relative to the directory given to [Open].
//
// The error matches [mlops.ErrInvalid] for an option or a value that dvc would
// refuse, and for a secret at the level that is committed.
func (r *Repo) Set(ctx context.Context, name, val string, at Level) error {
	section, option, err := config.Split(name)
	if err != nil {
		return err
	}
	if section == "core" && option == "remote" {
		val = strings.ToLower(val)
	}
	if err := config.Check(section, option, val); err != nil {
		return err
	}
	at = cmp.Or(at, LevelRepo)
	if at == LevelRepo && config.HoldsSecret(section, option, val) {
		return fail(mlops.ErrInvalid, "%s holds a secret, and .dvc/config is committed; set it at the local level (--local)", name)
	}
	err = r.edit(ctx, at, func(l config.File, data []byte, sections []ini.Section) ([]byte, error) {
		if kind, _ := config.KindOf(section, option); kind == config.Path {
			if val, err = r.storedPath(val, filepath.Dir(l.Path)); err != nil {
				return nil, err
			}
		}
		return ini.Set(data, sections, section, option, val), nil
	})
	if err == nil {
		r.bind(section, option)
	}
	return err
}

// Unset takes an option away from a level, "" being the repository's.
//
// The error matches [mlops.ErrNotFound] if the level does not set it.
func (r *Repo) Unset(ctx context.Context, name string, at Level) error {
	section, option, err := config.Split(name)
	if err != nil {
		return err
	}
	return r.edit(ctx, cmp.Or(at, LevelRepo), func(l config.File, data []byte, sections []ini.Section) ([]byte, error) {
		data, ok := ini.Unset(data, sections, section, option)
		if !ok {
			return nil, fail(mlops.ErrNotFound, "option %s is not set in %s", name, l.Path)
		}
		return data, nil
	})
}

// Unused reports whether an option (core.analytics, remote.store.replication) is
// one that dvc obeys and this package does not.
func Unused(name string) bool { return config.Unused(name) }

// config reads the four files: they are small, and another program may have
// changed them since the last call.
func (r *Repo) config() (*config.Config, error) {
	if err := opened(r); err != nil {
		return nil, err
	}
	return config.Load(r.levels(), r.readFile, r.foreign.allows, r.foreign.dir)
}

func (r *Repo) levels() []config.File { return config.Files(r.dir) }

// storedPath is how a path given by the caller stands in a file of dir.
func (r *Repo) storedPath(p, dir string) (string, error) {
	if address.Scheme(p) != "" || filepath.IsAbs(p) || p == "~" || strings.HasPrefix(p, "~/") {
		return p, nil
	}
	rel, err := filepath.Rel(dir, filepath.Join(r.base, p))
	return filepath.ToSlash(rel), err
}

// levelsAt returns the level called name, or all of them for "".
func (r *Repo) levelsAt(name Level) ([]config.File, error) {
	all := r.levels()
	if name == "" {
		return all, nil
	}
	for _, l := range all {
		if l.Level == config.Level(name) {
			return []config.File{l}, nil
		}
	}
	return nil, fail(mlops.ErrInvalid, "there is no configuration level %q", name)
}

// edit changes the file of one level, under the repository's lock.
func (r *Repo) edit(ctx context.Context, at Level, change func(l config.File, data []byte, sections []ini.Section) ([]byte, error)) error {
	levels, err := r.levelsAt(at)
	if err != nil {
		return err
	}
	held, _, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer held.Close()
	return editFile(levels[0], change)
}

func editFile(l config.File, change func(l config.File, data []byte, sections []ini.Section) ([]byte, error)) error {
	sections, data, err := l.Read()
	if err != nil {
		return err
	}
	data = dvcfile.UnixLines(data)
	changed, err := change(l, data, sections)
	if err != nil || string(changed) == string(data) {
		return err
	}
	if _, err := ini.Parse(changed); err != nil {
		return fmt.Errorf("dvc: %s would not be readable after the change: %w", l.Path, err)
	}
	if err := os.MkdirAll(filepath.Dir(l.Path), 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(l.Path))
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(l.Path)
	return writeFile(root, besides(name), name, changed)
}
