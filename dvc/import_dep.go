package dvc

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
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// dep is what an import is made of: data of another git repository, or at a
// URL.
type dep struct {
	path string // as the .dvc file has it
	repo *gitSource

	// What a URL held when it was imported.
	kind   string // of hash: md5, etag or checksum; "" before that
	hash   string
	size   int64 // -1 when not given
	nfiles int64 // -1 for a file
	exec   bool
	config [][2]string // fs_config: how it is opened, beyond the user's configuration

	odd  string // why it cannot be handled here, or ""
	node *yaml.Node
}

// gitSource is another git repository, as an import names it.
type gitSource struct {
	url    string
	rev    string // branch, tag or commit that updates follow; "" is what is checked out there
	lock   string // the commit it was imported at; "" before that
	remote string // of that repository; "" is its default

	node *yaml.Node
}

// parseImport fills imports, if the file is one: one dependency, one output, no
// command.
func (f *dvcFile) parseImport() error {
	deps := f.top["deps"]
	if f.top["cmd"] != nil || deps == nil || len(deps.Content) != 1 || len(f.outs) != 1 {
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
	d := &dep{path: text(m, "path"), size: -1, nfiles: -1, exec: strings.EqualFold(text(m, "isexec"), "true"), node: deps.Content[0]}
	if m["db"] != nil {
		d.odd = "comes from a database"
	} else if d.path == "" || strings.ContainsRune(d.path, 0) {
		return f.bad(d.node, "import without path")
	}
	for _, kind := range []string{"md5", "etag", "checksum"} {
		if v := text(m, kind); v != "" {
			d.kind, d.hash = kind, v
			break
		}
	}
	for key, dst := range map[string]*int64{"size": &d.size, "nfiles": &d.nfiles} {
		if v, err := strconv.ParseInt(text(m, key), 10, 64); err == nil && v >= 0 {
			*dst = v
		}
	}
	if m["files"] != nil || m["cloud"] != nil || m["version_id"] != nil {
		d.odd = "is kept by file versions in the cloud"
	}
	if n := m["fs_config"]; n != nil {
		if n.Kind != yaml.MappingNode {
			return f.bad(n, "fs_config is not a mapping")
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			d.config = append(d.config, [2]string{n.Content[i].Value, n.Content[i+1].Value})
		}
	}
	if n := m["repo"]; n != nil {
		rm, err := f.mapping(n)
		if err != nil {
			return err
		}
		d.repo = &gitSource{url: text(rm, "url"), rev: text(rm, "rev"), lock: text(rm, "rev_lock"), remote: text(rm, "remote"), node: n}
		if d.repo.lock != "" && !isCommit(d.repo.lock) {
			return f.bad(rm["rev_lock"], "%q is not the full name of a commit", d.repo.lock)
		}
		if r := rm["remote"]; rm["config"] != nil || r != nil && r.Kind != yaml.ScalarNode {
			d.odd = "brings a configuration of its own for the other repository"
		}
	}
	f.imports = d
	return nil
}

// partial tells an import whose data was never fetched.
func (f *dvcFile) partial() bool { return f.imports != nil && f.outs[0].oid == "" }

// standIn is what data status takes for the hash of a URL's data that was never
// fetched: dvc takes the hash of the dependency.
func (d *dep) standIn() object.ID {
	if d.repo != nil || d.hash == "" {
		return ""
	}
	id, err := object.Parse(d.hash)
	if err == nil && d.kind == "md5" && !strings.Contains(d.path, "://") {
		return id
	}
	sum := md5.Sum([]byte(d.kind + ":" + d.hash)) // a name that no content has
	name := hex.EncodeToString(sum[:])
	if id.IsDir() { // a listing of etags
		name += ".dir"
	}
	return object.ID(name)
}

// isCommit tells the full name of a commit.
func isCommit(s string) bool {
	return len(s) == 40 && strings.Trim(s, "0123456789abcdef") == ""
}

// same reports whether two name the same data.
func (d *dep) same(e *dep) bool {
	if d.path != e.path || d.kind != e.kind || d.hash != e.hash || (d.repo == nil) != (e.repo == nil) {
		return false
	}
	return d.repo == nil || d.repo.url == e.repo.url && d.repo.rev == e.repo.rev && d.repo.lock == e.repo.lock && d.repo.remote == e.repo.remote
}

// String is how dvc names a dependency.
func (d *dep) String() string {
	if d.repo != nil {
		return d.path + " (" + publicURL(d.repo.url) + ")"
	}
	return redact(d.path)
}

// fields are what stands in the .dvc file of it, in dvc's order; a git
// repository is a block.
func (d *dep) fields() [][2]string {
	if d.repo != nil {
		return [][2]string{{"path", d.path}, {"repo", block(d.repo.fields(), 4)}}
	}
	var out [][2]string
	if d.kind != "" {
		out = append(out, [2]string{d.kind, d.hash})
	}
	if d.size >= 0 {
		out = append(out, [2]string{"size", strconv.FormatInt(d.size, 10)})
	}
	if d.nfiles >= 0 {
		out = append(out, [2]string{"nfiles", strconv.FormatInt(d.nfiles, 10)})
	}
	if d.exec {
		out = append(out, [2]string{"isexec", "true"})
	}
	out = append(out, [2]string{"hash", "md5"}, [2]string{"path", d.path})
	if len(d.config) > 0 {
		out = append(out, [2]string{"fs_config", block(d.config, 4)})
	}
	return out
}

func (s *gitSource) fields() [][2]string {
	out := [][2]string{{"url", s.url}}
	for _, f := range [][2]string{{"rev", s.rev}, {"rev_lock", s.lock}, {"remote", s.remote}} {
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

// importText writes the .dvc file of an import: a new one, or old with what
// changed. Without a sum the data was neither fetched nor looked at.
func importText(rel, name string, old *dvcFile, d *dep, c content, desc string, sum bool) ([]byte, error) {
	write := func(top [][2]string, c content) ([]byte, error) {
		outs := [][2]string{{"hash", "md5"}}
		if c.oid != "" {
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
	if c.oid == "" && old != nil && old.imports != nil {
		summed.oid = old.outs[0].oid // dvc forgets the old hash after it took the sum
	}
	text, err := write([][2]string{{"md5", strings.Repeat("0", 32)}}, summed)
	if err != nil {
		return nil, err
	}
	f, err := parseDVCFile(rel, text)
	if err != nil {
		return nil, err
	}
	return write([][2]string{{"md5", f.stageSum()}}, c)
}

var depKeys = []string{"md5", "etag", "checksum", "size", "nfiles", "isexec", "fs_config"}

// patchImport changes an existing .dvc file of the same output.
func patchImport(old *dvcFile, d *dep, top, outs [][2]string) ([]byte, error) {
	if len(old.outs) != 1 {
		return nil, fail(mlops.ErrConflict, "%s has several outputs", old.rel)
	}
	p := newPatcher(old)
	was := old.imports
	if was == nil {
		top = append(top, [2]string{"frozen", "true"}, [2]string{"deps", item1(d.fields())})
	} else {
		top = append(top, [2]string{"frozen", "true"})
		keys, want := depKeys, d.fields()
		if was.repo != nil && d.repo != nil {
			if err := p.set(was.repo.node, []string{"rev", "rev_lock", "remote"}, d.repo.fields()); err != nil {
				return nil, err
			}
			want = want[:1]
		} else if was.repo != nil {
			keys = append([]string{"repo"}, keys...)
		}
		if len(d.config) > 0 && slices.Equal(was.config, d.config) {
			keys, want = keys[:len(keys)-1], want[:len(want)-1]
		}
		if err := p.set(was.node, keys, want); err != nil {
			return nil, err
		}
	}
	if err := p.set(old.outs[0].node, outKeys, outs); err != nil {
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

// stageSum is the md5 that dvc writes into the file of an import: of its JSON
// with sorted keys, less what does not matter. Source: dvc/stage/utils.py,
// dvc/utils/__init__.py.
func (f *dvcFile) stageSum() string {
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
