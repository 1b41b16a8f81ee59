package dvc

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// config is the merged configuration: system, global, repository, local; a
// later level wins key by key.
type config struct {
	sections map[string]map[string]value // "core", "cache", …, and `remote "name"`
	stamp    string                      // of a call that holds the lock: of the files, see stampOf
}

type value struct {
	items []string // one, or a list
	level Level
	dir   string // of the file it stands in: relative paths start there

	remote string // that it is an option of, once that was put together
	in     string // the file that it comes with, if that is none of the configuration
}

func (v value) text() string { return strings.Join(v.items, ",") }

func (c *config) get(section, key string) (value, bool) {
	v, ok := c.sections[section][key]
	return v, ok
}

func (c *config) boolean(section, key string) bool {
	v, _ := c.get(section, key)
	return strings.EqualFold(v.text(), "true")
}

// config reads the four files: they are small, and another program may have
// changed them since the last call.
func (r *Repo) config() (*config, error) {
	if err := opened(r); err != nil {
		return nil, err
	}
	c := &config{sections: map[string]map[string]value{}}
	for _, l := range r.levels() {
		data, err := r.readFile(l.file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && l.name == LevelSystem {
			continue
		}
		if err != nil {
			return nil, err
		}
		sections, err := ini.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("dvc: %s: %w", l.file, err)
		}
		for _, s := range sections {
			name := ini.SectionName(s.Name)
			if c.sections[name] == nil {
				c.sections[name] = map[string]value{}
			}
			for _, k := range s.Keys {
				key := strings.ToLower(k.Name)
				if r.foreign.allows(l.name, name, key) {
					c.sections[name][key] = value{items: k.Items, level: l.name, dir: r.foreign.dir(l.file)}
				}
			}
		}
	}
	return c, nil
}

type level struct {
	name Level
	file string
}

func (r *Repo) levels() []level {
	system := os.Getenv("DVC_SYSTEM_CONFIG_DIR")
	global := os.Getenv("DVC_GLOBAL_CONFIG_DIR")
	home, _ := os.UserHomeDir()
	switch {
	case runtime.GOOS == "darwin":
		system = cmp.Or(system, "/Library/Application Support/dvc")
		global = cmp.Or(global, filepath.Join(home, "Library", "Application Support", "dvc"))
	default:
		dirs, _, _ := strings.Cut(cmp.Or(os.Getenv("XDG_CONFIG_DIRS"), "/etc/xdg"), ":")
		system = cmp.Or(system, filepath.Join(dirs, "dvc"))
		global = cmp.Or(global, filepath.Join(cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(home, ".config")), "dvc"))
	}
	return []level{
		{LevelSystem, filepath.Join(system, "config")},
		{LevelGlobal, filepath.Join(global, "config")},
		{LevelRepo, filepath.Join(r.dir, ".dvc", "config")},
		{LevelLocal, filepath.Join(r.dir, ".dvc", "config.local")},
	}
}

// resolve returns the path that a configured path means.
func (v value) resolve() string {
	p := v.text()
	if address.Scheme(p) != "" || filepath.IsAbs(p) {
		return p
	}
	if p == "~" || strings.HasPrefix(p, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, p[1:])
		}
	}
	return filepath.Join(v.dir, p)
}

// cache returns the cache of the repository at root.
func (cfg *config) cache(root string) (*cache.Cache, error) {
	dir, links := filepath.Join(root, ".dvc", "cache"), []string{"reflink", "copy"}
	if v, ok := cfg.get("cache", "dir"); ok {
		dir = v.resolve()
	}
	if v, ok := cfg.get("cache", "type"); ok {
		links = nil
		for t := range strings.SplitSeq(v.text(), ",") { // dvc writes a list, or a text with commas
			t = strings.ToLower(strings.TrimSpace(t))
			if !slices.Contains(cache.LinkTypes, t) {
				return nil, fail(mlops.ErrInvalid, "cache.type %q", t)
			}
			links = append(links, t)
		}
	}
	shared, _ := cfg.get("cache", "shared")
	return cache.New(dir, links, shared.text() == "group"), nil
}

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
	return cfg.remotes(), nil
}

func (c *config) remotes() []Remote {
	def := ""
	if v, ok := c.get("core", "remote"); ok {
		def = strings.ToLower(v.text())
	}
	var out []Remote
	for _, section := range slices.Sorted(maps.Keys(c.sections)) {
		m := ini.Named.FindStringSubmatch(section)
		if m == nil || m[1] != "remote" {
			continue
		}
		u, ok := c.get(section, "url")
		if !ok {
			continue
		}
		out = append(out, Remote{Name: m[2], URL: address.Redact(u.resolve()), Level: u.level, Default: m[2] == def})
	}
	return out
}

// DefaultRemote returns the remote that core.remote names.
//
// The error matches [mlops.ErrNotFound] if none is named, or it has no URL.
func (r *Repo) DefaultRemote() (Remote, error) {
	cfg, err := r.config()
	if err != nil {
		return Remote{}, err
	}
	return cfg.defaultRemote()
}

func (c *config) defaultRemote() (Remote, error) {
	for _, rem := range c.remotes() {
		if rem.Default {
			return rem, nil
		}
	}
	if v, ok := c.get("core", "remote"); ok {
		return Remote{}, fail(mlops.ErrNotFound, "core.remote is %q, which is not configured", v.text())
	}
	return Remote{}, fail(mlops.ErrNotFound, "no default remote; run: dvc remote add -d <name> <url>")
}

// remoteConfig returns all settings of a remote; "" is the default remote.
// A remote://other/sub URL is followed. more is what a .dvc file adds.
//
// The error matches [mlops.ErrForbidden] for what the committed configuration
// may not decide.
func (c *call) remoteConfig(name string, more ...setting) (remote.Config, error) {
	if name == "" {
		def, err := c.cfg.defaultRemote()
		if err != nil {
			return remote.Config{}, err
		}
		name = def.Name
	}
	rc, from, err := c.cfg.remote(strings.ToLower(name), 0)
	if err != nil {
		return rc, err
	}
	for _, s := range more {
		rc.Options[s.key], from[s.key] = s.text(), s.value
	}
	if err = c.foreign.allowsURL(name, remote.Scheme(rc.URL) == ""); err == nil {
		err = c.vet(name, rc, from)
	}
	return rc, err
}

// setting is a value with its key.
type setting struct {
	key string
	value
}

func (c *config) remote(name string, depth int) (remote.Config, settings, error) {
	section := remoteSection(name)
	u, ok := c.get(section, "url")
	if !ok {
		return remote.Config{}, nil, fail(mlops.ErrNotFound, "remote %q is not configured", name)
	}
	rc, from := remote.Config{Name: name, URL: u.resolve(), Options: map[string]string{}}, settings{}
	if rest, ok := strings.CutPrefix(rc.URL, "remote://"); ok {
		if depth > 8 {
			return remote.Config{}, nil, fail(mlops.ErrInvalid, "remote %q refers to itself", name)
		}
		base, sub, _ := strings.Cut(rest, "/")
		on, under, err := c.remote(strings.ToLower(base), depth+1)
		if err != nil {
			return remote.Config{}, nil, err
		}
		rc.URL, rc.Options, from = strings.TrimSuffix(on.URL, "/")+"/"+sub, on.Options, under
	}
	for k, v := range c.sections[section] {
		v.remote = name
		if k == "url" && from[k].level == LevelRepo {
			continue // the other remote's counts
		}
		if from[k] = v; k == "url" {
			continue
		}
		rc.Options[k] = v.text()
		switch k {
		case "credentialpath", "configpath", "keyfile", "cert_path", "key_path":
			rc.Options[k] = v.resolve()
		case "version_aware", "worktree":
			if strings.EqualFold(v.text(), "true") {
				return remote.Config{}, nil, fail(mlops.ErrUnsupported, "remote %q is %s", name, k)
			}
		}
	}
	return rc, from, nil
}
