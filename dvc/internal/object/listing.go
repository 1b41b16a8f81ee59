package object

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
)

// Entry is a file in the listing of a directory.
type Entry struct {
	Path string // relative to the directory
	ID   ID
}

// Listing is a directory's listing, sorted by path in code point order.
type Listing []Entry

const maxListing = 256 << 20 // bytes of a listing; about two million files

// encode writes the listing as Python's json.dumps does: the directory's hash
// is the md5 of these bytes.
func (t Listing) encode() []byte {
	var b bytes.Buffer
	b.Grow(2 + 96*len(t))
	_ = t.Write(&b, func() error { return nil })
	return b.Bytes()
}

// Write writes the listing to b and calls flush after each entry.
func (t Listing) Write(b *bytes.Buffer, flush func() error) error {
	b.WriteByte('[')
	for i, e := range t {
		if err := flush(); err != nil {
			return err
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(`{"md5": "`)
		b.WriteString(e.ID.String())
		b.WriteString(`", "relpath": `)
		PyQuote(b, e.Path)
		b.WriteByte('}')
	}
	b.WriteByte(']')
	return nil
}

// PyQuote writes a JSON text in ASCII only, as Python does.
func PyQuote(b *bytes.Buffer, s string) {
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

// Sort puts the entries into code point order of their paths.
func (t Listing) Sort() {
	slices.SortFunc(t, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
}

// Hash returns the listing's bytes and the directory's name as an object of
// dvc 3.x.
func (t Listing) Hash() ([]byte, ID) {
	data := t.encode()
	sum := md5.Sum(data)
	return data, ID(hex.EncodeToString(sum[:]) + ".dir")
}

// Decode reads a listing and refuses one that could write outside of its
// directory, or that no directory could have. The error matches
// [mlops.ErrInvalid].
func Decode(text string) (Listing, error) {
	bad := func(format string, args ...any) (Listing, error) {
		return nil, fmt.Errorf("dvc: directory listing: "+format+": %w", append(args, mlops.ErrInvalid)...)
	}
	if len(text) > maxListing {
		return bad("%d bytes are more than %d", len(text), maxListing)
	}
	if !utf8.ValidString(text) {
		return bad("not UTF-8")
	}
	t, ok := parseListing(text)
	if !ok {
		var err error
		if t, err = parseJSON(text); err != nil {
			return bad("%w", err)
		}
	}
	for _, e := range t {
		if why := UnsafePath(e.Path); why != "" {
			return bad("path %q %s", e.Path, why)
		}
		if o, err := Parse(string(e.ID)); err != nil || o.IsDir() {
			return bad("path %q has hash %q", e.Path, string(e.ID))
		}
	}
	t.Sort()
	last := "" // the directory that was looked for before: neighbours share it
	for i, e := range t {
		if i > 0 && e.Path == t[i-1].Path {
			return bad("path %q is given twice", e.Path)
		}
		for dir := path.Dir(e.Path); dir != "." && !Within(last, dir); dir = path.Dir(dir) {
			if _, is := slices.BinarySearchFunc(t, dir, func(e Entry, p string) int { return strings.Compare(e.Path, p) }); is {
				return bad("path %q is a file and a directory", dir)
			}
		}
		last = path.Dir(e.Path)
	}
	return t, nil
}

// parseListing reads a listing as dvc and encode write it, without a copy: the
// entries are parts of text. ok is false for any other way of writing it.
func parseListing(text string) (t Listing, ok bool) {
	rest, ok := strings.CutPrefix(text, "[")
	if !ok || rest == "]" {
		return nil, ok
	}
	t = make(Listing, 0, strings.Count(text, `{"md5": "`))
	for {
		if rest, ok = strings.CutPrefix(rest, `{"md5": "`); !ok || len(rest) < 32 {
			return nil, false
		}
		e := Entry{ID: ID(rest[:32])}
		if rest, ok = strings.CutPrefix(rest[32:], `", "relpath": "`); !ok {
			return nil, false
		}
		end := strings.IndexAny(rest, `"\`)
		if end < 0 {
			return nil, false
		}
		if e.Path = rest[:end]; rest[end] == '\\' {
			for end < len(rest) && rest[end] != '"' {
				if rest[end] == '\\' {
					end++
				}
				end++
			}
			if end >= len(rest) || json.Unmarshal([]byte(`"`+rest[:end]+`"`), &e.Path) != nil {
				return nil, false
			}
		} else if strings.ContainsFunc(e.Path, unicode.IsControl) {
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

// parseJSON reads any JSON list of objects that have md5 and relpath.
func parseJSON(text string) (Listing, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('[') {
		return nil, errors.New("not a JSON list")
	}
	var t Listing
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
		t = append(t, Entry{*e.Relpath, ID(*e.MD5)})
	}
	if tok, err := dec.Token(); err != nil || tok != json.Delim(']') {
		return nil, errors.New("does not end")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("text after its end")
	}
	return t, nil
}

// Read reads the listing o, of about size bytes, if it is what its name says.
func Read(r io.Reader, size int64, o ID) (Listing, error) {
	var text strings.Builder
	text.Grow(int(min(max(size, 0), maxListing)))
	h := o.NewHash()
	if _, err := io.Copy(io.MultiWriter(&text, h), io.LimitReader(r, maxListing+1)); err != nil {
		return nil, err
	}
	if got := Sum(h); got != o.MD5() {
		return nil, fault.New(mlops.ErrInvalid, "directory listing %s is damaged: its md5 is %s", o, got)
	}
	t, err := Decode(text.String())
	if o.Legacy() {
		for i := range t {
			t[i].ID = t[i].ID.As(true)
		}
	}
	return t, err
}

// Below returns the entries of one file or directory in the listing; "" is all.
func (t Listing) Below(part string) Listing {
	if part == "" {
		return t
	}
	var out Listing
	for _, e := range t {
		if Within(e.Path, part) {
			out = append(out, e)
		}
	}
	return out
}

const maxPath = 4096 // bytes: no system opens a longer one

// UnsafePath says why a path from a listing or a .dvc file must not be
// written, or "".
func UnsafePath(p string) string {
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
