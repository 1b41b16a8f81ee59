// Package dvcfile reads and writes what DVC keeps in a repository: .dvc files,
// and the outputs of the stages in a dvc.yaml and its dvc.lock. What it writes
// is what dvc would write, byte for byte, and what it changes keeps its comments
// and order.
package dvcfile

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// MaxSize is the most bytes that a file of dvc's own making may have.
const MaxSize = 16 << 20

// File is a parsed .dvc file, whose text is kept and patched so that
// comments, order and other keys survive; or one stage of a dvc.yaml, with
// what dvc.lock says of it.
type File struct {
	Rel      string // slash path from the root
	Order    int    // place among the files of the index
	Stage    string // name in the dvc.yaml; "" for a .dvc file
	Text     []byte // of Source
	Outs     []*Out
	frozen   bool
	Always   bool // it counts as changed whatever there is
	RepoDeps bool // imported from another git repository: not ours to push
	Deps     bool // it is made of something: imported, or a stage's
	Sum      string
	top      map[string]*yaml.Node // of a .dvc file
	Imports  *Dep                  // nil unless it is an import
	Needs    []string              // of a stage: the paths that it depends on, from the root
}

// Out is one output of a .dvc file or stage.
type Out struct {
	File   *File
	Path   string    // slash path from the root of the repository
	ID     object.ID // "" when the file has none yet
	Legacy bool      // written by dvc 2.x: md5 of text with its line ends folded
	Size   int64     // -1 when not given
	NFiles int64     // -1 when not given
	Exec   bool
	Cache  bool // false: only the hash is kept
	Push   bool
	Metric bool // one of a stage's metrics
	Plot   bool // one of a stage's plots
	Remote string
	Odd    string // why it cannot be handled here, or ""
	node   *yaml.Node

	Shadowed bool // another file has this output as well

	// Part is what a target names inside of a tracked directory, relative to
	// it; "" for the whole output.
	Part string
}

// Twin reports whether two outputs are one path in two files.
func (o *Out) Twin(p *Out) bool { return o.Path == p.Path && o.File != p.File }

// Whole names what an output's part is, from the root.
func (o *Out) Whole() string { return path.Join(o.Path, o.Part) }

// Holding is the output with another content.
func (o *Out) Holding(c Content) *Out {
	n := *o
	n.ID, n.Size, n.NFiles, n.Exec, n.Legacy = c.ID, c.Size, c.NFiles, c.Exec, c.ID.Legacy()
	return &n
}

// bad is the error for what stands at a node of the file.
func (f *File) bad(n *yaml.Node, format string, args ...any) error {
	line := ""
	if n != nil {
		line = ":" + strconv.Itoa(n.Line)
	}
	return fmt.Errorf("dvc: %s%s: "+format+": %w", append(append([]any{f.Rel, line}, args...), mlops.ErrInvalid)...)
}

// parseYAML reads the mapping that a file of dvc's own making is; nil when the
// file is empty. Aliases are refused: nothing that dvc writes has one.
func (f *File) parseYAML(text []byte) (map[string]*yaml.Node, error) {
	if len(text) > MaxSize {
		return nil, f.bad(nil, "%d bytes are too many", len(text))
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, f.unreadable(text, err)
	}
	if doc.Kind == 0 {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode && fault.Unmerged(text) {
		return nil, f.unreadable(text, nil)
	}
	if n := firstAlias(top); n != nil {
		return nil, f.bad(n, "aliases are not allowed")
	}
	return f.mapping(top)
}

// unreadable is the error for a text that is no YAML.
func (f *File) unreadable(text []byte, err error) error {
	if fault.Unmerged(text) {
		return f.bad(nil, "the file holds conflict markers of a merge; resolve it with git, then git add it")
	}
	return f.bad(nil, "%v", err)
}

// The keys of a .dvc file. Source: dvc/schema.py, SINGLE_STAGE_SCHEMA;
// dvc/output.py and dvc/dependency, SCHEMA.
var (
	topKeys     = strings.Fields("md5 wdir deps outs locked frozen meta always_changed desc")
	dvcOutKeys  = strings.Fields("md5 etag checksum size nfiles isexec version_id path persist cloud hash desc type labels meta cache remote push files fs_config")
	dvcDepKeys  = strings.Fields("md5 etag checksum size nfiles isexec version_id path persist cloud hash repo db files fs_config")
	dvcBoolKeys = strings.Fields("locked frozen always_changed isexec persist cache push")
	dvcTextKeys = strings.Fields("wdir path desc type hash remote")
)

// known refuses keys that dvc refuses, and values of another type.
func (f *File) known(m map[string]*yaml.Node, keys []string) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		n := m[key]
		switch {
		case !slices.Contains(keys, key):
			return f.bad(n, "the key %q is not one that dvc knows", key)
		case slices.Contains(dvcBoolKeys, key) && n.Tag != "!!bool":
			return f.bad(n, "%s is neither true nor false", key)
		case slices.Contains(dvcTextKeys, key) && n.Tag != "!!str" && (key != "wdir" || n.Tag != "!!null"):
			return f.bad(n, "%s is not a text", key)
		}
	}
	return nil
}

// mapping returns a mapping node's values.
func (f *File) mapping(n *yaml.Node) (map[string]*yaml.Node, error) {
	m, dup := mapping(n)
	if m == nil || dup != "" {
		return nil, f.bad(n, "not a mapping, or key %q given twice", dup)
	}
	return m, nil
}

// Parse reads a .dvc file and refuses outputs that would be written
// outside of the repository. The error matches [mlops.ErrInvalid].
func Parse(rel string, text []byte) (*File, error) {
	f := &File{Rel: rel, Text: text}
	m, err := f.parseYAML(text)
	if err != nil {
		return nil, err
	}
	if err := f.known(m, topKeys); err != nil {
		return nil, err
	}
	wdir := "."
	if n := m["wdir"]; n != nil && n.Tag != "!!null" {
		if wdir = n.Value; path.IsAbs(wdir) {
			return nil, f.bad(n, "wdir %q is outside the repository", wdir)
		}
	}
	f.Always = m["always_changed"] != nil && m["always_changed"].Value == "true"
	f.top, f.frozen = m, m["frozen"] != nil && m["frozen"].Value == "true"
	if n := m["md5"]; n != nil {
		f.Sum = n.Value
	}
	if deps := m["deps"]; deps != nil && len(deps.Content) > 0 {
		f.Deps = true
		for _, d := range deps.Content {
			dm, err := f.mapping(d)
			if err != nil {
				return nil, err
			}
			if err := f.known(dm, dvcDepKeys); err != nil {
				return nil, err
			}
			f.RepoDeps = f.RepoDeps || dm["repo"] != nil
		}
	}
	outs := m["outs"]
	if outs == nil || outs.Tag == "!!null" {
		return f, nil
	}
	if outs.Kind != yaml.SequenceNode {
		return nil, f.bad(outs, "outs is not a list")
	}
	for _, n := range outs.Content {
		om, err := f.mapping(n)
		if err != nil {
			return nil, err
		}
		if err := f.known(om, dvcOutKeys); err != nil {
			return nil, err
		}
		o, err := f.parseOut(path.Join(path.Dir(rel), wdir), n)
		if err != nil {
			return nil, err
		}
		f.Outs = append(f.Outs, o)
	}
	return f, f.parseImport()
}

// parseOut reads one output of a .dvc file or dvc.lock. Its path is relative to
// dir.
func (f *File) parseOut(dir string, n *yaml.Node) (*Out, error) {
	om, err := f.mapping(n)
	if err != nil {
		return nil, err
	}
	o := &Out{File: f, Size: -1, NFiles: -1, Cache: true, Push: true, node: n}
	p := om["path"]
	if p == nil || p.Kind != yaml.ScalarNode {
		return nil, f.bad(n, "output without path")
	}
	if o.Path, err = f.outPath(dir, p); err != nil {
		return nil, err
	}
	if h := om["hash"]; h == nil {
		o.Legacy = true
	} else if h.Value != "md5" {
		o.Odd = "has hash " + h.Value
	}
	if h := om["md5"]; h != nil && h.Tag != "!!null" {
		id, err := object.Parse(h.Value)
		if err != nil {
			return nil, f.bad(h, "%q is not an md5", h.Value)
		}
		o.ID = id.As(o.Legacy)
	} else if om["etag"] != nil || om["checksum"] != nil {
		o.Odd = "has an etag or checksum for its hash"
	}
	for key, dst := range map[string]*int64{"size": &o.Size, "nfiles": &o.NFiles} {
		if v := om[key]; v != nil {
			i, err := strconv.ParseInt(v.Value, 10, 64)
			if err != nil || i < 0 {
				return nil, f.bad(v, "%s %q", key, v.Value)
			}
			*dst = i
		}
	}
	for key, dst := range map[string]*bool{"isexec": &o.Exec, "cache": &o.Cache, "push": &o.Push} {
		if v := om[key]; v != nil {
			*dst = strings.EqualFold(v.Value, "true")
		}
	}
	if v := om["remote"]; v != nil {
		o.Remote = v.Value
	}
	if om["files"] != nil || om["cloud"] != nil {
		o.Odd = "is kept by file versions in the cloud"
	}
	return o, nil
}

// outPath refuses an output's path that is outside of the repository or its
// own folder, and returns it relative to the root.
func (f *File) outPath(dir string, p *yaml.Node) (string, error) {
	if strings.Contains(p.Value, "://") || strings.HasPrefix(p.Value, "/") {
		return "", f.bad(p, "output %q is outside the repository", p.Value)
	}
	rel := path.Join(dir, p.Value)
	if why := object.UnsafePath(rel); why != "" || rel == "." || object.Within(rel, ".dvc") {
		return "", f.bad(p, "output %q is outside the repository or not data (%s)", p.Value, cmp.Or(why, "the repository itself"))
	}
	return rel, nil
}

// Source is the file that has the hashes.
func (f *File) Source() string {
	if f.Stage == "" {
		return f.Rel
	}
	return strings.TrimSuffix(f.Rel, ".yaml") + ".lock"
}

// At is how the caller names a .dvc file or stage, as dvc does: x.dvc, train,
// sub/dvc.yaml:train.
func (f *File) At(show func(string) string) string {
	rel := show(f.Rel)
	switch {
	case f.Stage == "":
		return rel
	case rel == "dvc.yaml":
		return f.Stage
	}
	return rel + ":" + f.Stage
}

// Name is a target that names a file or stage wherever the caller is.
func (f *File) Name(show func(string) string) string {
	if f.Stage == "" {
		return show(f.Rel)
	}
	return show(f.Rel) + ":" + f.Stage
}

func firstAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n
	}
	for _, c := range n.Content {
		if a := firstAlias(c); a != nil {
			return a
		}
	}
	return nil
}

// mapping returns a mapping node's values; dup names a key given twice.
func mapping(n *yaml.Node) (m map[string]*yaml.Node, dup string) {
	if n.Kind != yaml.MappingNode {
		return nil, ""
	}
	m = make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i].Value
		if m[k] != nil {
			return m, k
		}
		m[k] = n.Content[i+1]
	}
	return m, ""
}

// Content is what a .dvc file says about an output's bytes.
type Content struct {
	ID     object.ID
	Size   int64 // -1: unknown, not written
	NFiles int64 // -1 for a file
	Exec   bool
}

func (c Content) fields() [][2]string {
	out := [][2]string{{"md5", c.ID.String()}}
	if c.Size >= 0 {
		out = append(out, [2]string{"size", strconv.FormatInt(c.Size, 10)})
	}
	if c.NFiles >= 0 {
		out = append(out, [2]string{"nfiles", strconv.FormatInt(c.NFiles, 10)})
	}
	if c.Exec {
		out = append(out, [2]string{"isexec", "true"})
	}
	if c.ID.Legacy() {
		return out
	}
	return append(out, [2]string{"hash", "md5"})
}

// New writes the .dvc file for data of that name beside it.
func New(name string, c Content) []byte {
	var b bytes.Buffer
	b.WriteString("outs:\n")
	lead := "- "
	for _, f := range c.fields() {
		b.WriteString(lead + field(f[0], f[1], 2) + "\n")
		lead = "  "
	}
	b.WriteString("  path:" + yamlValue(name, len("  path:"), 4) + "\n")
	return b.Bytes()
}

// plainKeys have values that are no texts.
var plainKeys = map[string]bool{"size": true, "nfiles": true, "isexec": true, "frozen": true}

// field writes "key: value". A block begins with a line end.
func field(key, val string, indent int) string {
	switch {
	case strings.HasPrefix(val, "\n"):
		return key + ":" + val
	case plainKeys[key]:
		return key + ": " + val
	}
	return key + ":" + yamlValue(val, indent+len(key)+1, indent+2)
}
