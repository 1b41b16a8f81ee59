package dvc

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
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
	_ = t.write(&b, func() error { return nil })
	return b.Bytes()
}

// write writes the listing to b and calls flush after each entry.
func (t tree) write(b *bytes.Buffer, flush func() error) error {
	b.WriteByte('[')
	for i, e := range t {
		if err := flush(); err != nil {
			return err
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`{"md5": "`)
		b.WriteString(e.oid.String())
		b.WriteString(`", "relpath": `)
		pyQuote(b, e.path)
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return nil
}

// putTree stores a listing, without holding all of its text.
func (c *cache) putTree(ctx context.Context, t tree) (oid, error) {
	dir := filepath.Join(c.dir, "files", "md5")
	if err := c.mkdirAll(dir); err != nil {
		return "", err
	}
	f, err := c.temp(dir)
	if err != nil {
		return "", err
	}
	h, size := md5.New(), int64(0)
	var b bytes.Buffer
	drain := func() error {
		size += int64(b.Len())
		_, err := b.WriteTo(io.MultiWriter(f, h))
		return err
	}
	err = t.write(&b, func() error {
		if b.Len() < 1<<16 {
			return nil
		}
		return drain()
	})
	if err == nil {
		err = drain()
	}
	id := oid(sumHex(h) + ".dir")
	have := false
	if err == nil {
		have, err = c.has(ctx, id, size)
	}
	if err == nil && !have {
		if _, err = c.mkdir(id); err == nil {
			err = c.commit(f, id, true)
		}
	}
	if err != nil || have {
		discard(f)
	}
	return id, err
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
func decodeTree(text string) (tree, error) {
	bad := func(format string, args ...any) (tree, error) {
		return nil, fmt.Errorf("dvc: directory listing: "+format+": %w", append(args, mlops.ErrInvalid)...)
	}
	if len(text) > maxTree {
		return bad("%d bytes are more than %d", len(text), maxTree)
	}
	if !utf8.ValidString(text) {
		return bad("not UTF-8")
	}
	t, ok := parseListing(text)
	if !ok {
		var err error
		if t, err = parseJSONListing(text); err != nil {
			return bad("%w", err)
		}
	}
	for _, e := range t {
		if why := unsafePath(e.path); why != "" {
			return bad("path %q %s", e.path, why)
		}
		if o, err := parseOID(string(e.oid)); err != nil || o.isDir() {
			return bad("path %q has hash %q", e.path, string(e.oid))
		}
	}
	t.sort()
	last := "" // the directory that was looked for before: neighbours share it
	for i, e := range t {
		if i > 0 && e.path == t[i-1].path {
			return bad("path %q is given twice", e.path)
		}
		for dir := path.Dir(e.path); dir != "." && !within(last, dir); dir = path.Dir(dir) {
			if _, is := slices.BinarySearchFunc(t, dir, func(e treeEntry, p string) int { return strings.Compare(e.path, p) }); is {
				return bad("path %q is a file and a directory", dir)
			}
		}
		last = path.Dir(e.path)
	}
	return t, nil
}

// parseListing reads a listing as dvc and encode write it, without a copy: the
// entries are parts of text. ok is false for any other way of writing it.
func parseListing(text string) (t tree, ok bool) {
	rest, ok := strings.CutPrefix(text, "[")
	if !ok || rest == "]" {
		return nil, ok
	}
	t = make(tree, 0, strings.Count(text, `{"md5": "`))
	for {
		if rest, ok = strings.CutPrefix(rest, `{"md5": "`); !ok || len(rest) < 32 {
			return nil, false
		}
		e := treeEntry{oid: oid(rest[:32])}
		if rest, ok = strings.CutPrefix(rest[32:], `", "relpath": "`); !ok {
			return nil, false
		}
		end := strings.IndexAny(rest, `"\`)
		if end < 0 {
			return nil, false
		}
		if e.path = rest[:end]; rest[end] == '\\' {
			for end < len(rest) && rest[end] != '"' {
				if rest[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(rest) || json.Unmarshal([]byte(`"`+rest[:end]+`"`), &e.path) != nil {
				return nil, false
			}
		} else if strings.ContainsFunc(e.path, unicode.IsControl) {
			return nil, false
		}
		t, rest = append(t, e), rest[end+1:]
		if rest == "}]" {
			return t, true
		}
		if rest, ok = strings.CutPrefix(rest, "}, "); !ok {
			return nil, false
		}
	}
}

// parseJSONListing reads any JSON list of objects that have md5 and relpath.
func parseJSONListing(text string) (tree, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, errors.New("not a JSON list")
	}
	var t tree
	for dec.More() {
		var e struct {
			MD5     *string `json:"md5"`
			Relpath *string `json:"relpath"`
		}
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(t)+1, err)
		}
		if e.MD5 == nil || e.Relpath == nil {
			return nil, fmt.Errorf("entry %d lacks md5 or relpath", len(t)+1)
		}
		t = append(t, treeEntry{*e.Relpath, oid(*e.MD5)})
	}
	if tok, err := dec.Token(); err != nil || tok != json.Delim(']') {
		return nil, errors.New("does not end")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("text after its end")
	}
	return t, nil
}

// readTree reads the listing o, of about size bytes, if it is what its name says.
func readTree(r io.Reader, size int64, o oid) (tree, error) {
	var text strings.Builder
	text.Grow(int(min(max(size, 0), maxTree)))
	h := o.newHash()
	if _, err := io.Copy(io.MultiWriter(&text, h), io.LimitReader(r, maxTree+1)); err != nil {
		return nil, err
	}
	if got := sumHex(h); got != o.md5() {
		return nil, fail(mlops.ErrInvalid, "directory listing %s is damaged: its md5 is %s", o, got)
	}
	t, err := decodeTree(text.String())
	if o.legacy() {
		for i := range t {
			t[i].oid = t[i].oid.as(true)
		}
	}
	return t, err
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
