package dvc

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/mlops-integration/mlops"
)

// treeEntry is a file in the listing of a directory.
type treeEntry struct {
	path string // relative to the directory
	oid  oid
}

// tree is a directory's listing, sorted by path in code point order.
type tree []treeEntry

const maxTree = 256 << 20 // bytes of a listing; about two million files

// encode writes the listing as Python's json.dumps does: the directory's hash
// is the md5 of these bytes.
func (t tree) encode() []byte {
	var b bytes.Buffer
	b.Grow(2 + 96*len(t))
	b.WriteByte('[')
	for i, e := range t {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`{"md5": "`)
		b.WriteString(e.oid.String())
		b.WriteString(`", "relpath": `)
		pyQuote(&b, e.path)
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return b.Bytes()
}

// pyQuote writes a JSON text in ASCII only, as Python does.
func pyQuote(b *bytes.Buffer, s string) {
	const hexDigits = "0123456789abcdef"
	u := func(c rune) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(hexDigits[c>>shift&15])
		}
	}
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\b':
			b.WriteString(`\b`)
		case c == '\f':
			b.WriteString(`\f`)
		case ' ' <= c && c <= '~':
			b.WriteByte(byte(c))
		case c > 0xffff:
			u(0xd800 + (c-0x10000)>>10)
			u(0xdc00 + (c-0x10000)&0x3ff)
		default:
			u(c)
		}
	}
	b.WriteByte('"')
}

func (t tree) sort() {
	slices.SortFunc(t, func(a, b treeEntry) int { return strings.Compare(a.path, b.path) })
}

// hash returns the listing's bytes and the directory's name as an object of
// dvc 3.x.
func (t tree) hash() ([]byte, oid) {
	data := t.encode()
	sum := md5.Sum(data)
	return data, oid(hex.EncodeToString(sum[:]) + ".dir")
}

// decodeTree reads a listing and refuses one that could write outside of its
// directory, or that no directory could have. The error matches
// [mlops.ErrInvalid].
func decodeTree(data []byte) (tree, error) {
	bad := func(format string, args ...any) (tree, error) {
		return nil, fmt.Errorf("dvc: directory listing: "+format+": %w", append(args, mlops.ErrInvalid)...)
	}
	if len(data) > maxTree {
		return bad("%d bytes are more than %d", len(data), maxTree)
	}
	if !utf8.Valid(data) {
		return bad("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return bad("not a JSON list")
	}
	var t tree
	for dec.More() {
		var e struct {
			MD5     *string `json:"md5"`
			Relpath *string `json:"relpath"`
		}
		if err := dec.Decode(&e); err != nil {
			return bad("entry %d: %v", len(t)+1, err)
		}
		if e.MD5 == nil || e.Relpath == nil {
			return bad("entry %d lacks md5 or relpath", len(t)+1)
		}
		if why := unsafePath(*e.Relpath); why != "" {
			return bad("path %q %s", *e.Relpath, why)
		}
		o, err := parseOID(*e.MD5)
		if err != nil || o.isDir() {
			return bad("path %q has hash %q", *e.Relpath, *e.MD5)
		}
		t = append(t, treeEntry{*e.Relpath, o})
	}
	if tok, err := dec.Token(); err != nil || tok != json.Delim(']') {
		return bad("does not end")
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("text after its end")
	}
	t.sort()
	files := make(map[string]bool, len(t))
	for _, e := range t {
		if files[e.path] {
			return bad("path %q is given twice", e.path)
		}
		files[e.path] = true
	}
	for _, e := range t {
		for i := range len(e.path) {
			if e.path[i] == '/' && files[e.path[:i]] {
				return bad("path %q is a file and a directory", e.path[:i])
			}
		}
	}
	return t, nil
}

// below returns the entries of one file or directory in the listing; "" is all.
func (t tree) below(part string) tree {
	if part == "" {
		return t
	}
	var out tree
	for _, e := range t {
		if within(e.path, part) {
			out = append(out, e)
		}
	}
	return out
}

const maxPath = 4096 // bytes: no system opens a longer one

// unsafePath says why a path from a listing or a .dvc file must not be
// written, or "".
func unsafePath(p string) string {
	switch {
	case p == "":
		return "is empty"
	case strings.ContainsRune(p, 0):
		return "has a zero byte"
	case !utf8.ValidString(p):
		return "is not UTF-8"
	case p[0] == '/':
		return "is absolute"
	case len(p) > maxPath:
		return "is longer than 4096 bytes"
	}
	parts := strings.Split(p, "/")
	for i, part := range parts {
		switch {
		case part == "" || part == "." || part == "..":
			return "is not a plain relative path"
		case strings.EqualFold(part, ".git"), part == ".dvc" && i < len(parts)-1:
			return "leads into " + part
		case len(part) > 255:
			return "has a name longer than 255 bytes"
		}
	}
	return ""
}
