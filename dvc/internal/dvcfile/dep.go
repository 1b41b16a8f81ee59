package dvcfile

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/address"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// Dep is what an import is made of: data of another git repository, or at a
// URL.
type Dep struct {
	Path string // as the .dvc file has it
	Repo *GitSource

	// What a URL held when it was imported.
	Kind   string // of hash: md5, etag or checksum; "" before that
	Hash   string
	Size   int64 // -1 when not given
	NFiles int64 // -1 for a file
	Exec   bool
	Config [][2]string // fs_config: how it is opened, beyond the user's configuration

	Odd  string // why it cannot be handled here, or ""
	Node *yaml.Node
}

// GitSource is another git repository, as an import names it.
type GitSource struct {
	URL    string
	Rev    string // branch, tag or commit that updates follow; "" is what is checked out there
	Lock   string // the commit it was imported at; "" before that
	Remote string // of that repository; "" is its default

	node *yaml.Node
}

// parseImport fills imports, if the file is one: one dependency, one output, no
// command.
func (f *File) parseImport() error {
	deps := f.top["deps"]
	if f.top["cmd"] != nil || deps == nil || len(deps.Content) != 1 || len(f.Outs) != 1 {
		return nil
	}
	m, err := f.mapping(deps.Content[0])
	if err != nil {
		return err
	}
	text := func(m map[string]*yaml.Node, key string) string {
		if n := m[key]; n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
			return n.Value
		}
		return ""
	}
	d := &Dep{Path: text(m, "path"), Size: -1, NFiles: -1, Exec: strings.EqualFold(text(m, "isexec"), "true"), Node: deps.Content[0]}
	if m["db"] != nil {
		d.Odd = "comes from a database"
	} else if d.Path == "" || strings.ContainsRune(d.Path, 0) {
		return f.bad(d.Node, "import without path")
	}
	for _, kind := range []string{"md5", "etag", "checksum"} {
		if v := text(m, kind); v != "" {
			d.Kind, d.Hash = kind, v
			break
		}
	}
	for key, dst := range map[string]*int64{"size": &d.Size, "nfiles": &d.NFiles} {
		if v, err := strconv.ParseInt(text(m, key), 10, 64); err == nil && v >= 0 {
			*dst = v
		}
	}
	if m["files"] != nil || m["cloud"] != nil || m["version_id"] != nil {
		d.Odd = "is kept by file versions in the cloud"
	}
	if n := m["fs_config"]; n != nil {
		if n.Kind != yaml.MappingNode {
			return f.bad(n, "fs_config is not a mapping")
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			d.Config = append(d.Config, [2]string{n.Content[i].Value, n.Content[i+1].Value})
		}
	}
	if n := m["repo"]; n != nil {
		rm, err := f.mapping(n)
		if err != nil {
			return err
		}
		d.Repo = &GitSource{URL: text(rm, "url"), Rev: text(rm, "rev"), Lock: text(rm, "rev_lock"), Remote: text(rm, "remote"), node: n}
		if d.Repo.Lock != "" && !IsCommit(d.Repo.Lock) {
			return f.bad(rm["rev_lock"], "%q is not the full name of a commit", d.Repo.Lock)
		}
		if r := rm["remote"]; rm["config"] != nil || r != nil && r.Kind != yaml.ScalarNode {
			d.Odd = "brings a configuration of its own for the other repository"
		}
	}
	f.Imports = d
	return nil
}

// Partial reports whether f is an import whose data was never fetched.
func (f *File) Partial() bool { return f.Imports != nil && f.Outs[0].ID == "" }

// StandIn is what data status takes for the hash of a URL's data that was never
// fetched: dvc takes the hash of the dependency.
func (d *Dep) StandIn() object.ID {
	if d.Repo != nil || d.Hash == "" {
		return ""
	}
	id, err := object.Parse(d.Hash)
	if err == nil && d.Kind == "md5" && !strings.Contains(d.Path, "://") {
		return id
	}
	sum := md5.Sum([]byte(d.Kind + ":" + d.Hash)) // a name that no content has
	name := hex.EncodeToString(sum[:])
	if id.IsDir() { // a listing of etags
		name += ".dir"
	}
	return object.ID(name)
}

// IsCommit reports whether s is the full name of a commit.
func IsCommit(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// Same reports whether two name the same data.
func (d *Dep) Same(e *Dep) bool {
	if d.Path != e.Path || d.Kind != e.Kind || d.Hash != e.Hash || (d.Repo == nil) != (e.Repo == nil) {
		return false
	}
	return d.Repo == nil || d.Repo.URL == e.Repo.URL && d.Repo.Rev == e.Repo.Rev && d.Repo.Lock == e.Repo.Lock && d.Repo.Remote == e.Repo.Remote
}

// String is how dvc names a dependency.
func (d *Dep) String() string {
	if d.Repo != nil {
		return d.Path + " (" + address.Public(d.Repo.URL) + ")"
	}
	return address.Redact(d.Path)
}

// fields are what stands in the .dvc file of it, in dvc's order; a git
// repository is a block.
func (d *Dep) fields() [][2]string {
	if d.Repo != nil {
		return [][2]string{{"path", d.Path}, {"repo", block(d.Repo.fields(), 4)}}
	}
	var out [][2]string
	if d.Kind != "" {
		out = append(out, [2]string{d.Kind, d.Hash})
	}
	if d.Size >= 0 {
		out = append(out, [2]string{"size", strconv.FormatInt(d.Size, 10)})
	}
	if d.NFiles >= 0 {
		out = append(out, [2]string{"nfiles", strconv.FormatInt(d.NFiles, 10)})
	}
	if d.Exec {
		out = append(out, [2]string{"isexec", "true"})
	}
	out = append(out, [2]string{"hash", "md5"}, [2]string{"path", d.Path})
	if len(d.Config) > 0 {
		out = append(out, [2]string{"fs_config", block(d.Config, 4)})
	}
	return out
}

func (s *GitSource) fields() [][2]string {
	out := [][2]string{{"url", s.URL}}
	for _, f := range [][2]string{{"rev", s.Rev}, {"rev_lock", s.Lock}, {"remote", s.Remote}} {
		if f[1] != "" {
			out = append(out, f)
		}
	}
	return out
}

// block writes fields as the value of a key.
func block(fields [][2]string, indent int) string {
	var b strings.Builder
	for _, f := range fields {
		b.WriteString("\n" + strings.Repeat(" ", indent) + field(f[0], f[1], indent))
	}
	return b.String()
}

// item1 writes fields as the only item of a list.
func item1(fields [][2]string) string {
	return "\n- " + strings.TrimPrefix(block(fields, 2), "\n  ")
}

// Import writes the .dvc file of an import: a new one, or old with what
// changed. Without a sum the data was neither fetched nor looked at.
func Import(rel, name string, old *File, d *Dep, c Content, desc string, sum bool) ([]byte, error) {
	write := func(top [][2]string, c Content) ([]byte, error) {
		outs := [][2]string{{"hash", "md5"}}
		if c.ID != "" {
			outs = c.fields()
		}
		outs = append(outs, [2]string{"path", name})
		if desc != "" {
			outs = append(outs, [2]string{"desc", desc})
		}
		if old != nil {
			return patchImport(old, d, top, outs)
		}
		top = append(top, [2]string{"frozen", "true"}, [2]string{"deps", item1(d.fields())}, [2]string{"outs", item1(outs)})
		return []byte(strings.TrimPrefix(block(top, 0), "\n") + "\n"), nil
	}
	if !sum {
		return write(nil, c)
	}
	summed := c
	if c.ID == "" && old != nil && old.Imports != nil {
		summed.ID = old.Outs[0].ID // dvc forgets the old hash after it took the sum
	}
	text, err := write([][2]string{{"md5", strings.Repeat("0", 32)}}, summed)
	if err != nil {
		return nil, err
	}
	f, err := Parse(rel, text)
	if err != nil {
		return nil, err
	}
	return write([][2]string{{"md5", f.StageSum()}}, c)
}

var depKeys = []string{"md5", "etag", "checksum", "size", "nfiles", "isexec", "fs_config"}

// patchImport changes an existing .dvc file of the same output.
func patchImport(old *File, d *Dep, top, outs [][2]string) ([]byte, error) {
	if len(old.Outs) != 1 {
		return nil, fault.New(mlops.ErrConflict, "%s has several outputs", old.Rel)
	}
	p := newPatcher(old)
	was := old.Imports
	if was == nil {
		top = append(top, [2]string{"frozen", "true"}, [2]string{"deps", item1(d.fields())})
	} else {
		top = append(top, [2]string{"frozen", "true"})
		keys, want := depKeys, d.fields()
		if was.Repo != nil && d.Repo != nil {
			if err := p.set(was.Repo.node, []string{"rev", "rev_lock", "remote"}, d.Repo.fields()); err != nil {
				return nil, err
			}
			want = want[:1]
		} else if was.Repo != nil {
			keys = append([]string{"repo"}, keys...)
		}
		if len(d.Config) > 0 && slices.Equal(was.Config, d.Config) {
			keys, want = keys[:len(keys)-1], want[:len(want)-1]
		}
		if err := p.set(was.Node, keys, want); err != nil {
			return nil, err
		}
	}
	if err := p.set(old.Outs[0].node, outKeys, outs); err != nil {
		return nil, err
	}
	if err := p.setTop([]string{"md5"}, top); err != nil {
		return nil, err
	}
	return p.text(), nil
}

// unhashed are the keys that do not count for a stage's md5.
var unhashed = map[string]bool{
	"desc": true, "type": true, "labels": true, "meta": true, "locked": true, "frozen": true, "metric": true,
	"persist": true, "isexec": true, "size": true, "nfiles": true,
}

// StageSum is the md5 that dvc writes into the file of an import: of its JSON
// with sorted keys, less what does not matter. Source: dvc/stage/utils.py,
// dvc/utils/__init__.py.
func (f *File) StageSum() string {
	top := maps.Clone(f.top)
	delete(top, "md5")
	if w := top["wdir"]; w != nil && w.Value == "." {
		delete(top, "wdir")
	}
	var b bytes.Buffer
	pyJSON(&b, top)
	sum := md5.Sum(b.Bytes())
	return hex.EncodeToString(sum[:])
}

// pyJSON writes a mapping as Python's json.dumps(sort_keys=True) does.
func pyJSON(b *bytes.Buffer, m map[string]*yaml.Node) {
	b.WriteByte('{')
	first := true
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if unhashed[k] {
			continue
		}
		if !first {
			b.WriteString(", ")
		}
		first = false
		object.PyQuote(b, k)
		b.WriteString(": ")
		pyJSONValue(b, m[k])
	}
	b.WriteByte('}')
}

func pyJSONValue(b *bytes.Buffer, n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		m, _ := mapping(n)
		pyJSON(b, m)
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, x := range n.Content {
			if i > 0 {
				b.WriteString(", ")
			}
			pyJSONValue(b, x)
		}
		b.WriteByte(']')
	default:
		switch n.Tag {
		case "!!null":
			b.WriteString("null")
		case "!!bool":
			b.WriteString(strings.ToLower(n.Value))
		case "!!int", "!!float":
			b.WriteString(n.Value)
		default:
			object.PyQuote(b, n.Value)
		}
	}
}
