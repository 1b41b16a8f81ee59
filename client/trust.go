package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/gitcmd"
	"github.com/mlops-integration/mlops/internal/trust"
)

// UserFile is the user's own configuration, "mlops/config.yaml" in
// [os.UserConfigDir]: it has the keys of mlops.yaml, and trust.hosts and
// trust.folders. It is empty if there is no such folder on this system.
func UserFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "mlops", "config.yaml")
}

// The keys of the user's file that name what is trusted.
const (
	trustHosts   = "trust.hosts"
	trustFolders = "trust.folders"
)

// file is a configuration file. The zero value is one that is not there.
type file struct {
	path string
	v    *viper.Viper
}

func (f file) has(key string) bool { return f.v != nil && f.v.InConfig(key) }

func (f file) get(key string) string {
	if !f.has(key) {
		return ""
	}
	return f.v.GetString(key)
}

func (f file) list(key string) []string {
	if !f.has(key) {
		return nil
	}
	return f.v.GetStringSlice(key)
}

// fileLimit is more than a configuration file has.
const fileLimit = 1 << 20

// userFile reads the user's configuration; there being none is no error.
func userFile() (file, error) {
	path := UserFile()
	if _, err := os.Stat(path); path == "" || err != nil { // or in a home that is not ours to look into
		return file{}, nil
	}
	text, err := trust.ReadFile(path, fileLimit)
	if err != nil {
		return file{}, err
	}
	return parse(path, text, append(fileKeys(), trustHosts, trustFolders))
}

// projectFile reads the mlops.yaml of dir, which is in it or above, to the root
// of the git repository or the user's home.
func projectFile(dir string, user file) (file, error) {
	path := findUp(dir, FileName)
	if path == "" {
		return file{}, nil
	}
	text, err := trust.ReadFile(path, fileLimit)
	if refused, ok := errors.AsType[*trust.Refused](err); ok {
		if !trustedFolder(path, user) {
			return file{}, &mlops.Error{Kind: mlops.ErrForbidden, Message: fmt.Sprintf(
				"%s is not read, because %s %s: if you trust what is in this folder, run: export MLOPS_TRUST_FOLDERS=%s",
				path, refused.Path, refused.Reason, added("MLOPS_TRUST_FOLDERS", string(filepath.ListSeparator), filepath.Dir(path)))}
		}
		text, err = trust.ReadAny(path, fileLimit)
	}
	if err != nil {
		return file{}, err
	}
	f, err := parse(path, text, fileKeys())
	if err != nil {
		return file{}, err
	}
	for _, k := range keys {
		if k.says != "" && f.has(k.name) {
			return file{}, &mlops.Error{Kind: mlops.ErrForbidden, Message: fmt.Sprintf(
				"%s: %s may not be in a project's file, because it decides %s: put it into %s, or set %s", path, k.name, k.says, cmp.Or(UserFile(), "your own configuration"), k.env[0])}
		}
	}
	return f, nil
}

// WriteFile writes the mlops.yaml of the project's folder, with the project's
// name and namespace, and returns its path. The error matches
// [mlops.ErrAlreadyExists] if the folder, or one above as FromProject looks for
// it, has one.
func (p *Project) WriteFile() (string, error) {
	path := findUp(p.Dir, FileName)
	if path != "" {
		return "", &mlops.Error{Kind: mlops.ErrAlreadyExists, Message: path + " is there already"}
	}
	path = filepath.Join(p.Dir, FileName)
	text := "project: " + p.Name + "\n"
	if p.Config.Namespace != "" {
		text += "namespace: " + p.Config.Namespace + "\n"
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	return path, errors.Join(err, f.Close())
}

// HasFile reports whether a mlops.yaml was found for the project.
func (p *Project) HasFile() bool { return findUp(p.Dir, FileName) != "" }

// findUp looks for a file in dir and above it. It stops at the root of a git
// repository, and at the user's home.
func findUp(dir, name string) string {
	home, _ := os.UserHomeDir()
	real := realPath(home)
	for {
		p := filepath.Join(dir, name)
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		up := filepath.Dir(dir)
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil || up == dir || dir == home || dir == real {
			return ""
		}
		dir = up
	}
}

// fileKeys are the keys of mlops.yaml.
func fileKeys() []string {
	out := []string{"project"}
	for _, k := range keys {
		out = append(out, k.name)
	}
	return out
}

// parse reads a configuration file that has these keys and no others.
func parse(path string, text []byte, known []string) (file, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return file{}, invalid("%s cannot be read: %v", path, err)
	}
	if len(root.Content) > 0 && root.Content[0].Kind != yaml.MappingNode && root.Content[0].Tag != "!!null" {
		return file{}, invalid("%s has %s at its root, and needs keys there, for example \"project: name\"", path, kindName(root.Content[0].Kind))
	}
	v := viper.New()
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(text)); err != nil {
		return file{}, invalid("%s cannot be read: %v", path, err)
	}
	for _, k := range v.AllKeys() {
		switch {
		case strings.Contains(k, "password") || strings.Contains(k, "token") || strings.Contains(k, "secret"):
			return file{}, invalid("%s: %s does not belong into a file that is committed or shown: set it in the environment, for example MLOPS_AIRFLOW_PASSWORD", path, k)
		case (k == trustHosts || k == trustFolders) && !slices.Contains(known, k):
			return file{}, invalid("%s: %s is for you to say, not for a project: put it into %s", path, k, UserFile())
		case !slices.Contains(known, k):
			return file{}, invalid("%s: unknown key %s; known are %s", path, k, strings.Join(known, ", "))
		}
	}
	return file{path, v}, nil
}

func kindName(k yaml.Kind) string {
	if k == yaml.SequenceNode {
		return "a list"
	}
	return "a single value"
}

// trustedFolder reports whether the user trusts the folder of a file that
// others can change: MLOPS_TRUST_FOLDERS or the user's file name it or a folder
// above, or git's safe.directory does. Git is asked only then.
func trustedFolder(path string, user file) bool {
	dir := realPath(filepath.Dir(path))
	for _, f := range append(trust.Folders(os.Getenv("MLOPS_TRUST_FOLDERS")), user.list(trustFolders)...) {
		if filepath.IsAbs(f) && within(realPath(f), dir) {
			return true
		}
	}
	root := dir
	for _, err := os.Lstat(filepath.Join(root, ".git")); err != nil; _, err = os.Lstat(filepath.Join(root, ".git")) {
		up := filepath.Dir(root)
		if up == root {
			return false // git trusts repositories
		}
		root = up
	}
	return safeDirectory(root)
}

// safeDirectory reports whether git's own configuration of the system or the
// user names a repository in safe.directory.
func safeDirectory(repo string) bool {
	safe := false
	for _, level := range []string{"--system", "--global"} {
		out, _ := gitcmd.Apart(context.Background(), "config", level, "--null", "--get-all", "--type=path", "safe.directory").Output() // no such key, no git: nothing is trusted
		for _, v := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			switch below, all := strings.CutSuffix(v, "/*"); {
			case v == "" && len(out) > 0:
				safe = false // it empties the list
			case v == "*", all && realPath(below) != repo && within(realPath(below), repo), filepath.IsAbs(v) && realPath(v) == repo:
				safe = true
			}
		}
	}
	return safe
}

// realPath is path without links, if it is there.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return filepath.Clean(path)
}

// within reports whether path is dir or below it.
func within(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// trustedHost reports whether the user trusts the server at an address:
// MLOPS_TRUST_HOSTS or trust.hosts of the user's file has its host, its host
// and port, or its whole origin.
func trustedHost(address string, user file) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	for _, h := range append(strings.Split(os.Getenv("MLOPS_TRUST_HOSTS"), ","), user.list(trustHosts)...) {
		h = strings.TrimSuffix(strings.TrimSpace(h), "/")
		if h != "" && (strings.EqualFold(h, u.Hostname()) || strings.EqualFold(h, u.Host) || strings.EqualFold(h, origin(u))) {
			return true
		}
	}
	return false
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// added is the value that a list in the environment has to get.
func added(variable, separator, value string) string {
	if os.Getenv(variable) != "" {
		return `"$` + variable + `"` + separator + trust.Quote(value)
	}
	return trust.Quote(value)
}

// sameOrigin reports whether two addresses are of one server. The names of
// this machine's loopback interface are one host.
func sameOrigin(a, b string) bool {
	ua, err1 := url.Parse(a)
	ub, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && ua.Host != "" && ua.Scheme == ub.Scheme && place(ua) == place(ub)
}

func place(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if host == "localhost" || host == "::1" {
		host = "127.0.0.1"
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(host, port)
}
