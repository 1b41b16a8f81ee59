package dvc

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

const maxDVCFile = 16 << 20

// dvcFile is a parsed .dvc file, whose text is kept and patched so that
// comments, order and other keys survive; or one stage of a dvc.yaml, with
// what dvc.lock says of it.
type dvcFile struct {
	rel      string // slash path from the root
	n        int    // place among the files of the index
	stage    string // name in the dvc.yaml; "" for a .dvc file
	text     []byte // of source
	outs     []*out
	frozen   bool
	always   bool // it counts as changed whatever there is
	repoDeps bool // imported from another git repository: not ours to push
	deps     bool // it is made of something: imported, or a stage's
	sum      string
	top      map[string]*yaml.Node // of a .dvc file
	imports  *dep                  // nil unless it is an import
	needs    []string              // of a stage: the paths that it depends on, from the root
}

// out is one output of a .dvc file or stage.
type out struct {
	file   *dvcFile
	path   string    // slash path from the root of the repository
	oid    object.ID // "" when the file has none yet
	legacy bool      // written by dvc 2.x: md5 of text with its line ends folded
	size   int64     // -1 when not given
	nfiles int64     // -1 when not given
	exec   bool
	cache  bool // false: only the hash is kept
	push   bool
	metric bool // one of a stage's metrics
	plot   bool // one of a stage's plots
	remote string
	odd    string // why it cannot be handled here, or ""
	node   *yaml.Node

	shadowed bool // another file has this output as well

	// part is what a target names inside of a tracked directory, relative to
	// it; "" for the whole output. See [index.targets].
	part string
}

// twin reports whether two outputs are one path in two files.
func (o *out) twin(p *out) bool { return o.path == p.path && o.file != p.file }

// bad is the error for what stands at a node of the file.
func (f *dvcFile) bad(n *yaml.Node, format string, args ...any) error {
	line := ""
	if n != nil {
		line = ":" + strconv.Itoa(n.Line)
	}
	return fmt.Errorf("dvc: %s%s: "+format+": %w", append(append([]any{f.rel, line}, args...), mlops.ErrInvalid)...)
}

// parseYAML reads the mapping that a file of dvc's own making is; nil when the
// file is empty. Aliases are refused: nothing that dvc writes has one.
func (f *dvcFile) parseYAML(text []byte) (map[string]*yaml.Node, error) {
	if len(text) > maxDVCFile {
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
func (f *dvcFile) unreadable(text []byte, err error) error {
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
func (f *dvcFile) known(m map[string]*yaml.Node, keys []string) error {
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
func (f *dvcFile) mapping(n *yaml.Node) (map[string]*yaml.Node, error) {
	m, dup := mapping(n)
	if m == nil || dup != "" {
		return nil, f.bad(n, "not a mapping, or key %q given twice", dup)
	}
	return m, nil
}

// parseDVCFile reads a .dvc file and refuses outputs that would be written
// outside of the repository. The error matches [mlops.ErrInvalid].
func parseDVCFile(rel string, text []byte) (*dvcFile, error) {
	f := &dvcFile{rel: rel, text: text}
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
	f.always = m["always_changed"] != nil && m["always_changed"].Value == "true"
	f.top, f.frozen = m, m["frozen"] != nil && m["frozen"].Value == "true"
	if n := m["md5"]; n != nil {
		f.sum = n.Value
	}
	if deps := m["deps"]; deps != nil && len(deps.Content) > 0 {
		f.deps = true
		for _, d := range deps.Content {
			dm, err := f.mapping(d)
			if err != nil {
				return nil, err
			}
			if err := f.known(dm, dvcDepKeys); err != nil {
				return nil, err
			}
			f.repoDeps = f.repoDeps || dm["repo"] != nil
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
		f.outs = append(f.outs, o)
	}
	return f, f.parseImport()
}

// parseOut reads one output of a .dvc file or dvc.lock. Its path is relative to
// dir.
func (f *dvcFile) parseOut(dir string, n *yaml.Node) (*out, error) {
	om, err := f.mapping(n)
	if err != nil {
		return nil, err
	}
	o := &out{file: f, size: -1, nfiles: -1, cache: true, push: true, node: n}
	p := om["path"]
	if p == nil || p.Kind != yaml.ScalarNode {
		return nil, f.bad(n, "output without path")
	}
	if o.path, err = f.outPath(dir, p); err != nil {
		return nil, err
	}
	if h := om["hash"]; h == nil {
		o.legacy = true
	} else if h.Value != "md5" {
		o.odd = "has hash " + h.Value
	}
	if h := om["md5"]; h != nil && h.Tag != "!!null" {
		id, err := object.Parse(h.Value)
		if err != nil {
			return nil, f.bad(h, "%q is not an md5", h.Value)
		}
		o.oid = id.As(o.legacy)
	} else if om["etag"] != nil || om["checksum"] != nil {
		o.odd = "has an etag or checksum for its hash"
	}
	for key, dst := range map[string]*int64{"size": &o.size, "nfiles": &o.nfiles} {
		if v := om[key]; v != nil {
			i, err := strconv.ParseInt(v.Value, 10, 64)
			if err != nil || i < 0 {
				return nil, f.bad(v, "%s %q", key, v.Value)
			}
			*dst = i
		}
	}
	for key, dst := range map[string]*bool{"isexec": &o.exec, "cache": &o.cache, "push": &o.push} {
		if v := om[key]; v != nil {
			*dst = strings.EqualFold(v.Value, "true")
		}
	}
	if v := om["remote"]; v != nil {
		o.remote = v.Value
	}
	if om["files"] != nil || om["cloud"] != nil {
		o.odd = "is kept by file versions in the cloud"
	}
	return o, nil
}

// outPath refuses an output's path that is outside of the repository or its
// own folder, and returns it relative to the root.
func (f *dvcFile) outPath(dir string, p *yaml.Node) (string, error) {
	if strings.Contains(p.Value, "://") || strings.HasPrefix(p.Value, "/") {
		return "", f.bad(p, "output %q is outside the repository", p.Value)
	}
	rel := path.Join(dir, p.Value)
	if why := object.UnsafePath(rel); why != "" || rel == "." || object.Within(rel, ".dvc") {
		return "", f.bad(p, "output %q is outside the repository or not data (%s)", p.Value, cmp.Or(why, "the repository itself"))
	}
	return rel, nil
}

// source is the file that has the hashes.
func (f *dvcFile) source() string {
	if f.stage == "" {
		return f.rel
	}
	return strings.TrimSuffix(f.rel, ".yaml") + ".lock"
}

// at is how the caller names a .dvc file or stage, as dvc does: x.dvc, train,
// sub/dvc.yaml:train.
func (f *dvcFile) at(show func(string) string) string {
	rel := show(f.rel)
	switch {
	case f.stage == "":
		return rel
	case rel == "dvc.yaml":
		return f.stage
	}
	return rel + ":" + f.stage
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

// content is what a .dvc file says about an output's bytes.
type content struct {
	oid    object.ID
	size   int64 // -1: unknown, not written
	nfiles int64 // -1 for a file
	exec   bool
}

func (c content) fields() [][2]string {
	out := [][2]string{{"md5", c.oid.String()}}
	if c.size >= 0 {
		out = append(out, [2]string{"size", strconv.FormatInt(c.size, 10)})
	}
	if c.nfiles >= 0 {
		out = append(out, [2]string{"nfiles", strconv.FormatInt(c.nfiles, 10)})
	}
	if c.exec {
		out = append(out, [2]string{"isexec", "true"})
	}
	if c.oid.Legacy() {
		return out
	}
	return append(out, [2]string{"hash", "md5"})
}

// newDVCFile writes the .dvc file for data of that name beside it.
func newDVCFile(name string, c content) []byte {
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
