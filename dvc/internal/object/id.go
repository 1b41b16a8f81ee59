// Package object has the names of DVC's objects, and the listings that stand for
// directories.
package object

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"hash"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
)

// ID is the name of an object: an md5 in hex, followed by ".dir" for the
// listing of a directory. Objects of dvc 2.x, whose md5 is that of text with
// its line ends folded, have legacyMark before it; they are other objects, at
// other places, even when the digits are the same.
type ID string

const legacyMark = "2:"

// Parse reads a name as .dvc files give it. The error matches [mlops.ErrInvalid].
func Parse(s string) (ID, error) {
	digits := strings.TrimSuffix(s, ".dir")
	ok := len(digits) == 32
	for _, c := range []byte(digits) {
		ok = ok && ('0' <= c && c <= '9' || 'a' <= c && c <= 'f')
	}
	if !ok {
		return "", fault.New(mlops.ErrInvalid, "%q is not an md5", s)
	}
	return ID(s), nil
}

// Legacy reports whether o is an object of dvc 2.x.
func (o ID) Legacy() bool { return strings.HasPrefix(string(o), legacyMark) }

// IsDir reports whether o is the listing of a directory.
func (o ID) IsDir() bool { return strings.HasSuffix(string(o), ".dir") }

// MD5 is the hash in hex.
func (o ID) MD5() string { return strings.TrimSuffix(o.String(), ".dir") }

// String is the name as .dvc files give it, without the mark of its kind.
func (o ID) String() string { return strings.TrimPrefix(string(o), legacyMark) }

// As returns the name of the kind given.
func (o ID) As(legacy bool) ID {
	if legacy && o != "" {
		return legacyMark + ID(o.String())
	}
	return ID(o.String())
}

// Key is where the object lies in a cache and in a remote.
func (o ID) Key() string {
	s := o.String()
	if o.Legacy() {
		return s[:2] + "/" + s[2:]
	}
	return "files/md5/" + s[:2] + "/" + s[2:]
}

// NewHash returns the hash that computes names of o's kind.
func (o ID) NewHash() hash.Hash { return NewHash(o.Legacy()) }

// NewHash returns the hash that computes the names of a kind of objects.
func NewHash(legacy bool) hash.Hash {
	if legacy {
		return &dos2unix{Hash: md5.New()}
	}
	return md5.New()
}

// dos2unix is the hash of dvc 2.x: md5 of a file whose CRLF are LF, if it looks
// like text. dvc looks again, and folds, in each MiB: a CRLF across its end stays.
// Source: dvc_data/hashfile/hash.py, istextfile.py.
type dos2unix struct {
	hash.Hash
	chunk []byte
}

// TextBlock is how much of a file dvc 2.x folds at once.
const TextBlock = 1 << 20

func (d *dos2unix) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), TextBlock-len(d.chunk))
		d.chunk = append(d.chunk, p[:take]...)
		p = p[take:]
		if len(d.chunk) == TextBlock {
			d.flush()
		}
	}
	return n, nil
}

func (d *dos2unix) flush() {
	data := d.chunk
	if looksText(data[:min(len(data), 512)]) {
		data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	}
	_, _ = d.Hash.Write(data)
	d.chunk = d.chunk[:0]
}

// Sum ends the last chunk: nothing is written after it.
func (d *dos2unix) Sum(b []byte) []byte {
	if len(d.chunk) > 0 {
		d.flush()
	}
	return d.Hash.Sum(b)
}

func (d *dos2unix) Reset() {
	d.chunk = d.chunk[:0]
	d.Hash.Reset()
}

// looksText reports whether dvc takes the beginning of a file for text: no zero
// byte, and at most three of ten bytes that are not ASCII text.
func looksText(block []byte) bool {
	odd := 0
	for _, c := range block {
		switch {
		case c == 0:
			return false
		case c >= 0x20 && c < 0x7f, c == '\n', c == '\r', c == '\t', c == '\f', c == '\b':
		default:
			odd++
		}
	}
	return odd*10 <= len(block)*3
}

// Sum returns a finished hash as it stands in names.
func Sum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Within reports whether p is dir or lies below it.
func Within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
