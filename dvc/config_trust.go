package dvc

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/config"
	"github.com/mlops-integration/mlops/dvc/internal/ini"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// A clone brings .dvc/config, and a pull changes it. So that level may neither
// name programs, keys and files of credentials of this machine, nor lead the
// credentials of other levels to another place.

// forThisMachine are the options of a remote that name such things.
var forThisMachine = map[string]bool{
	"credentialpath": true, "configpath": true, "keyfile": true, "cert_path": true, "key_path": true, "bearer_token_command": true,
	"gdrive_user_credentials_file": true, "gdrive_service_account_json_file_path": true,
}

// leads are the options by which credentials find their place, beside the URL.
var leads = []string{"endpointurl", "account_name", "port"}

// remoteConfig returns all settings of a remote; "" is the default remote.
// A remote://other/sub URL is followed. more is what a .dvc file adds.
//
// The error matches [mlops.ErrForbidden] for what the committed configuration
// may not decide.
func (c *call) remoteConfig(name string, more ...setting) (remote.Config, error) {
	if name == "" {
		def, err := c.cfg.DefaultRemote()
		if err != nil {
			return remote.Config{}, err
		}
		name = def.Name
	}
	at, err := c.cfg.Remote(strings.ToLower(name))
	if err != nil {
		return remote.Config{}, err
	}
	rc, from := remote.Config{Name: at.Name, URL: at.URL, Options: at.Options}, at.From
	for _, s := range more {
		rc.Options[s.key], from[s.key] = s.Text(), s.Value
	}
	if err = c.foreign.allowsURL(name, remote.Scheme(rc.URL) == ""); err == nil {
		err = c.vet(name, rc, from)
	}
	return rc, err
}

// setting is a value with its key.
type setting struct {
	key string
	config.Value
}

// tracked reports whether git tracks a path as a file.
func (r *Repo) tracked(rel string) (bool, error) {
	if !r.workTree {
		return false, nil
	}
	out, err := r.git(context.Background(), "--literal-pathspecs", "ls-files", "-s", "-z", "--", rel)
	return strings.HasPrefix(string(out), "100"), err
}

// vet refuses what the committed configuration of a remote may not decide.
func (c *call) vet(name string, rc remote.Config, from config.Settings) error {
	if c.foreign != nil {
		return nil // its settings have been chosen already
	}
	localCommitted := sync.OnceValue(func() bool { // it is no more the user's own than .dvc/config
		is, err := c.tracked(".dvc/config.local")
		return is || err != nil
	})
	committed := func(v config.Value) bool {
		return v.Level == config.Repo || v.Level == config.Local && localCommitted()
	}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if !forThisMachine[key] || !committed(from[key]) {
			continue
		}
		if why := c.notPlain(key, rc.Options[key]); why != "" {
			if in := from[key].In; in != "" {
				return fail(mlops.ErrForbidden, "%s: its %s is set by %s, which comes with the repository, and %s; name a remote instead (remote://…), whose %[2]s .dvc/config.local sets", name, key, in, why)
			}
			return fail(mlops.ErrForbidden, "remote %q: its %s is set by .dvc/config, which comes with the repository, and %s; if you trust it, run: mlopsctl dvc remote modify --local %[1]s %[2]s '%[4]s'", name, key, why, rc.Options[key])
		}
	}
	if slices.ContainsFunc(append([]string{"url"}, leads...), func(key string) bool {
		v, ok := from[key]
		return ok && committed(v)
	}) {
		return c.checkBound(name, rc, from)
	}
	return nil
}

// notPlain is why a path that the repository names cannot be used: only a file
// that git tracks can be, and only if it names no program or other file itself.
func (c *call) notPlain(key, file string) string {
	rel, err := filepath.Rel(c.dir, file)
	if key == "bearer_token_command" {
		return "that is a program"
	}
	if err != nil || !filepath.IsLocal(rel) {
		return "that is no file of the repository"
	}
	rel = filepath.ToSlash(rel)
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return err.Error()
	}
	defer root.Close()
	if is, err := c.tracked(rel); !is || err != nil || parentsAreDirs(root, rel) != nil {
		return "git does not track that file"
	}
	if fi, err := root.Lstat(rel); err != nil || !fi.Mode().IsRegular() || fi.Size() > 1<<20 {
		return "that is no small file"
	}
	text, err := root.ReadFile(rel)
	if err != nil {
		return err.Error()
	}
	plain := string(text)
	var doc any
	if json.Unmarshal([]byte(plain), &doc) == nil { // without its escapes
		b, _ := json.Marshal(doc)
		plain = string(b)
	}
	for _, word := range []string{"credential_process", "web_identity_token_file", "credential_source"} {
		if strings.Contains(strings.ToLower(plain), word) {
			return "that file has " + word + ", which runs a program or sends another file"
		}
	}
	return ""
}

// destination is where the credentials of a remote are sent to. A bucket's name is no
// part of it: the store that has the bucket decides who may read.
func destination(rc remote.Config) string {
	at := remote.Scheme(rc.URL) + "://"
	switch u, err := url.Parse(rc.URL); {
	case err != nil:
		at += address.Redact(rc.URL)
	case !slices.Contains([]string{"s3", "gs", "azure"}, u.Scheme):
		at += strings.ToLower(u.Host)
	}
	for _, key := range leads {
		if v := rc.Options[key]; v != "" {
			at += " " + key + "=" + v
		}
	}
	return at
}

// credentials returns those that the user's levels give a remote, by the file
// and the remote that they stand in.
func credentials(levels []config.File, from config.Settings) map[string]string {
	files := map[config.Level]string{}
	for _, l := range levels {
		files[l.Level] = l.Path
	}
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		v := from[key]
		if kind, _ := config.KindOf(config.RemoteSection(v.Remote), key); (kind == config.Secret || key == "credentialpath") && v.Level != config.Repo && v.Level != "" {
			out[files[v.Level]+" "+v.Remote] += key + "=" + v.Text() + "\x00"
		}
	}
	return out
}

// checkBound refuses to send the credentials of the user's levels to another
// place than where they were first used, or meant for by [Repo.Set].
func (c *call) checkBound(name string, rc remote.Config, from config.Settings) error {
	creds := credentials(c.levels(), from)
	if len(creds) == 0 {
		return nil
	}
	b := config.LoadBindings()
	changed := false
	for at, secret := range creds {
		was, now := b.Places[at], config.Destination{Place: destination(rc), Sum: b.Sum(secret)}
		if was.Sum == now.Sum && was.Place != now.Place {
			file, _, _ := cutLast(at, " ")
			return fail(mlops.ErrForbidden, "the credentials of remote %q in %s were set for %s, and .dvc/config, which comes with the repository, leads them to %s now; if that is right, run: mlopsctl dvc remote modify %s %s",
				name, file, was.Place, now.Place, name, leadingOption(rc, was.Place))
		}
		changed = changed || was != now
		b.Places[at] = now
	}
	if changed {
		b.Save()
	}
	return nil
}

// leadingOption is what to give to remote modify so that the place is confirmed.
func leadingOption(rc remote.Config, was string) string {
	for _, key := range leads {
		if v := rc.Options[key]; v != "" && !strings.Contains(was+" ", " "+key+"="+v+" ") {
			return key + " " + v
		}
	}
	return "url " + address.Redact(rc.URL)
}

// bind notes that the credentials of a remote are meant for where it leads now:
// the user has just set either.
func (r *Repo) bind(section, option string) {
	m := ini.Named.FindStringSubmatch(section)
	kind, _ := config.KindOf(section, option)
	if m == nil || m[1] != "remote" || kind != config.Secret && option != "credentialpath" && option != "url" && !slices.Contains(leads, option) {
		return
	}
	c, err := r.config()
	if err != nil {
		return
	}
	at, err := c.Remote(m[2])
	if err != nil {
		return // it has no URL yet
	}
	rc, from := remote.Config{Name: at.Name, URL: at.URL, Options: at.Options}, at.From
	b := config.LoadBindings()
	creds := credentials(r.levels(), from)
	for at, secret := range creds {
		b.Places[at] = config.Destination{Place: destination(rc), Sum: b.Sum(secret)}
	}
	if len(creds) > 0 {
		b.Save()
	}
}

func cutLast(s, sep string) (head, tail string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
