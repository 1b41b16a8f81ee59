package dvc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/mlops-integration/mlops/dvc/internal/cache"
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

// settings are the options of a remote, its url too, with where they come from.
type settings map[string]value

// tracked reports whether git tracks a path as a file.
func (r *Repo) tracked(rel string) (bool, error) {
	if !r.workTree {
		return false, nil
	}
	out, err := r.git(context.Background(), "--literal-pathspecs", "ls-files", "-s", "-z", "--", rel)
	return strings.HasPrefix(string(out), "100"), err
}

// vet refuses what the committed configuration of a remote may not decide.
func (c *call) vet(name string, rc remote.Config, from settings) error {
	if c.foreign != nil {
		return nil // its settings have been chosen already
	}
	localCommitted := sync.OnceValue(func() bool { // it is no more the user's own than .dvc/config
		is, err := c.tracked(".dvc/config.local")
		return is || err != nil
	})
	committed := func(v value) bool { return v.level == LevelRepo || v.level == LevelLocal && localCommitted() }
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if !forThisMachine[key] || !committed(from[key]) {
			continue
		}
		if why := c.notPlain(key, rc.Options[key]); why != "" {
			if in := from[key].in; in != "" {
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
func credentials(levels []level, from settings) map[string]string {
	files := map[Level]string{}
	for _, l := range levels {
		files[l.name] = l.file
	}
	out := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(from)) {
		v := from[key]
		if kind, _ := optionKind(remoteSection(v.remote), key); (kind == isSecret || key == "credentialpath") && v.level != LevelRepo && v.level != "" {
			out[files[v.level]+" "+v.remote] += key + "=" + v.text() + "\x00"
		}
	}
	return out
}

// checkBound refuses to send the credentials of the user's levels to another
// place than where they were first used, or meant for by [Repo.Set].
func (c *call) checkBound(name string, rc remote.Config, from settings) error {
	creds := credentials(c.levels(), from)
	if len(creds) == 0 {
		return nil
	}
	b := loadBindings()
	changed := false
	for at, secret := range creds {
		was, now := b.Places[at], binding{destination(rc), b.sum(secret)}
		if was.Sum == now.Sum && was.Place != now.Place {
			file, _, _ := cutLast(at, " ")
			return fail(mlops.ErrForbidden, "the credentials of remote %q in %s were set for %s, and .dvc/config, which comes with the repository, leads them to %s now; if that is right, run: mlopsctl dvc remote modify %s %s",
				name, file, was.Place, now.Place, name, leadingOption(rc, was.Place))
		}
		changed = changed || was != now
		b.Places[at] = now
	}
	if changed {
		b.save()
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
	kind, _ := optionKind(section, option)
	if m == nil || m[1] != "remote" || kind != isSecret && option != "credentialpath" && option != "url" && !slices.Contains(leads, option) {
		return
	}
	c, err := r.config()
	if err != nil {
		return
	}
	rc, from, err := c.remote(m[2], 0)
	if err != nil {
		return // it has no URL yet
	}
	b := loadBindings()
	creds := credentials(r.levels(), from)
	for at, secret := range creds {
		b.Places[at] = binding{destination(rc), b.sum(secret)}
	}
	if len(creds) > 0 {
		b.save()
	}
}

// bindings is the user's memory of where credentials were meant for. It lies
// outside of repositories, whose commits could write it.
type bindings struct {
	Salt   string             `json:"salt"`
	Places map[string]binding `json:"places"` // by file and remote
}

type binding struct {
	Place string `json:"place"`
	Sum   string `json:"sum"` // of the credentials, with the salt
}

func bindingsFile() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "mlops", "dvc-remotes.json"), err
}

func loadBindings() *bindings {
	b := &bindings{}
	if file, err := bindingsFile(); err == nil {
		if data, err := os.ReadFile(file); err == nil {
			_ = json.Unmarshal(data, b)
		}
	}
	if b.Salt == "" || b.Places == nil {
		*b = bindings{rand.Text(), map[string]binding{}}
	}
	return b
}

func (b *bindings) sum(secret string) string {
	s := sha256.Sum256([]byte(b.Salt + secret))
	return hex.EncodeToString(s[:])
}

// save writes the file. Where it cannot be written, as on a machine that lives
// for one job, nothing is remembered.
func (b *bindings) save() {
	file, err := bindingsFile()
	if err != nil || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return
	}
	tmp := file + cache.TempName()
	if os.WriteFile(tmp, data, 0o600) != nil || os.Rename(tmp, file) != nil {
		_ = os.Remove(tmp)
	}
}

func cutLast(s, sep string) (head, tail string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
