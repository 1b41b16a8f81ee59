// Package config is DVC's configuration: its levels and files, what they come to
// together, the options that dvc knows, and where credentials were meant for.
package config

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
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
)

// Level is a level of the configuration.
type Level string

// The levels of the configuration, the weakest first.
const (
	System Level = "system"
	Global Level = "global"
	Repo   Level = "repo"  // .dvc/config, which is committed
	Local  Level = "local" // .dvc/config.local, which git ignores
)

// Config is the merged configuration: system, global, repository, local; a
// later level wins key by key.
type Config struct {
	sections map[string]map[string]Value // "core", "cache", …, and `remote "name"`
	Stamp    string                      // of the files when they were read, for a caller who compares it
}

// Value is what an option is set to.
type Value struct {
	Items []string // one, or a list
	Level Level
	Dir   string // of the file it stands in: relative paths start there

	Remote string // that it is an option of, once that was put together
	In     string // the file that it comes with, if that is none of the configuration
}

// Text is the value as one text.
func (v Value) Text() string { return strings.Join(v.Items, ",") }

// Get returns the value of an option.
func (c *Config) Get(section, key string) (Value, bool) {
	v, ok := c.sections[section][key]
	return v, ok
}

// Bool reports whether an option is true.
func (c *Config) Bool(section, key string) bool {
	v, _ := c.Get(section, key)
	return strings.EqualFold(v.Text(), "true")
}

// Load reads the files, the weakest first. Of what stands in them, allowed says
// what counts, and base where the relative paths of a file start.
func Load(files []File, read func(string) ([]byte, error), allowed func(l Level, section, key string) bool, base func(file string) string) (*Config, error) {
	c := &Config{sections: map[string]map[string]Value{}}
	for _, l := range files {
		data, err := read(l.Path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && l.Level == System {
			continue
		}
		if err != nil {
			return nil, err
		}
		sections, err := ini.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("dvc: %s: %w", l.Path, err)
		}
		for _, s := range sections {
			name := ini.SectionName(s.Name)
			if c.sections[name] == nil {
				c.sections[name] = map[string]Value{}
			}
			for _, k := range s.Keys {
				key := strings.ToLower(k.Name)
				if allowed(l.Level, name, key) {
					c.sections[name][key] = Value{Items: k.Items, Level: l.Level, Dir: base(l.Path)}
				}
			}
		}
	}
	return c, nil
}

// File is a file of the configuration.
type File struct {
	Level Level
	Path  string
}

// Files are the files that a repository's configuration is made of.
func Files(repo string) []File {
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
	return []File{
		{System, filepath.Join(system, "config")},
		{Global, filepath.Join(global, "config")},
		{Repo, filepath.Join(repo, ".dvc", "config")},
		{Local, filepath.Join(repo, ".dvc", "config.local")},
	}
}

// Resolve returns the path that a configured path means.
func (v Value) Resolve() string {
	p := v.Text()
	if address.Scheme(p) != "" || filepath.IsAbs(p) {
		return p
	}
	if p == "~" || strings.HasPrefix(p, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, p[1:])
		}
	}
	return filepath.Join(v.Dir, p)
}

// Named is a remote that is configured.
type Named struct {
	Name    string
	URL     string // resolved, without a password
	Level   Level  // where its URL is set
	Default bool   // core.remote names it
}

// Remotes lists the remotes by name.
func (c *Config) Remotes() []Named {
	def := ""
	if v, ok := c.Get("core", "remote"); ok {
		def = strings.ToLower(v.Text())
	}
	var out []Named
	for _, section := range slices.Sorted(maps.Keys(c.sections)) {
		m := ini.Named.FindStringSubmatch(section)
		if m == nil || m[1] != "remote" {
			continue
		}
		u, ok := c.Get(section, "url")
		if !ok {
			continue
		}
		out = append(out, Named{Name: m[2], URL: address.Redact(u.Resolve()), Level: u.Level, Default: m[2] == def})
	}
	return out
}

// DefaultRemote returns the remote that core.remote names. The error matches
// [mlops.ErrNotFound] if none is named, or it has no URL.
func (c *Config) DefaultRemote() (Named, error) {
	for _, rem := range c.Remotes() {
		if rem.Default {
			return rem, nil
		}
	}
	if v, ok := c.Get("core", "remote"); ok {
		return Named{}, fault.New(mlops.ErrNotFound, "core.remote is %q, which is not configured", v.Text())
	}
	return Named{}, fault.New(mlops.ErrNotFound, "no default remote; run: dvc remote add -d <name> <url>")
}

// HasRemote reports whether a level says anything of a remote.
func (c *Config) HasRemote(name string) bool { return c.sections[RemoteSection(name)] != nil }

// Settings are the options of a remote, its url too, with where they come from.
type Settings map[string]Value

// Remote is a remote with all of its options.
type Remote struct {
	Name    string
	URL     string            // resolved
	Options map[string]string // all but the URL
	From    Settings
}

// Remote returns a remote by its name in lower case; a remote://other/sub URL is
// followed.
func (c *Config) Remote(name string) (Remote, error) { return c.follow(name, 0) }

func (c *Config) follow(name string, depth int) (Remote, error) {
	section := RemoteSection(name)
	u, ok := c.Get(section, "url")
	if !ok {
		return Remote{}, fault.New(mlops.ErrNotFound, "remote %q is not configured", name)
	}
	rc := Remote{name, u.Resolve(), map[string]string{}, Settings{}}
	if rest, ok := strings.CutPrefix(rc.URL, "remote://"); ok {
		if depth > 8 {
			return Remote{}, fault.New(mlops.ErrInvalid, "remote %q refers to itself", name)
		}
		base, sub, _ := strings.Cut(rest, "/")
		on, err := c.follow(strings.ToLower(base), depth+1)
		if err != nil {
			return Remote{}, err
		}
		rc = Remote{name, strings.TrimSuffix(on.URL, "/") + "/" + sub, on.Options, on.From}
	}
	for k, v := range c.sections[section] {
		v.Remote = name
		if k == "url" && rc.From[k].Level == Repo {
			continue // the other remote's counts
		}
		if rc.From[k] = v; k == "url" {
			continue
		}
		rc.Options[k] = v.Text()
		switch k {
		case "credentialpath", "configpath", "keyfile", "cert_path", "key_path":
			rc.Options[k] = v.Resolve()
		case "version_aware", "worktree":
			if strings.EqualFold(v.Text(), "true") {
				return Remote{}, fault.New(mlops.ErrUnsupported, "remote %q is %s", name, k)
			}
		}
	}
	return rc, nil
}

// RemoteSection is the section of a remote.
func RemoteSection(name string) string { return `remote "` + name + `"` }

// Read parses the level's file; a missing file has no sections.
func (l File) Read() ([]ini.Section, []byte, error) {
	data, err := os.ReadFile(l.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && l.Level == System {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	sections, err := ini.Parse(data)
	if err != nil {
		err = fmt.Errorf("dvc: %s: %w", l.Path, err)
	}
	return sections, data, err
}
