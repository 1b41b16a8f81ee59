package dvc

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"hash"
	"strings"

	"github.com/mlops-integration/mlops"
)

// oid is the name of an object: an md5 in hex, followed by ".dir" for the
// listing of a directory. Objects of dvc 2.x, whose md5 is that of text with
// its line ends folded, have legacyMark before it; they are other objects, at
// other places, even when the digits are the same.
type oid string

const legacyMark = "2:"

func parseOID(s string) (oid, error) {
	digits := strings.TrimSuffix(s, ".dir")
	ok := len(digits) == 32
	for _, c := range []byte(digits) {
		ok = ok && ('0' <= c && c <= '9' || 'a' <= c && c <= 'f')
	}
	if !ok {
		return "", fail(mlops.ErrInvalid, "%q is not an md5", s)
	}
	return oid(s), nil
}

func (o oid) legacy() bool { return strings.HasPrefix(string(o), legacyMark) }
func (o oid) isDir() bool  { return strings.HasSuffix(string(o), ".dir") }
func (o oid) md5() string  { return strings.TrimSuffix(o.String(), ".dir") }

// String is the name as .dvc files give it, without the mark of its kind.
func (o oid) String() string { return strings.TrimPrefix(string(o), legacyMark) }

// as returns the name of the kind given.
func (o oid) as(legacy bool) oid {
	if legacy && o != "" {
		return legacyMark + oid(o.String())
	}
	return oid(o.String())
}

// key is where the object lies in a cache and in a remote.
func (o oid) key() string {
	s := o.String()
	if o.legacy() {
		return s[:2] + "/" + s[2:]
	}
	return "files/md5/" + s[:2] + "/" + s[2:]
}

// newHash returns what computes names of o's kind.
func (o oid) newHash() hash.Hash { return newHash(o.legacy()) }

func newHash(legacy bool) hash.Hash {
	if legacy {
		return &dos2unix{Hash: md5.New()}
	}
	return md5.New()
}

// dos2unix is the hash of dvc 2.x: md5 of a file whose CRLF are LF, if it looks
// like text. dvc looks anew, and folds, in each MiB: a CRLF across its end stays.
// Source: dvc_data/hashfile/hash.py, istextfile.py.
type dos2unix struct {
	hash.Hash
	chunk []byte
}

const dos2unixChunk = 1 << 20

func (d *dos2unix) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), dos2unixChunk-len(d.chunk))
		d.chunk = append(d.chunk, p[:take]...)
		p = p[take:]
		if len(d.chunk) == dos2unixChunk {
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

// looksText tells whether dvc takes the beginning of a file for text: no zero
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

// sumHex returns a finished hash as it stands in names.
func sumHex(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
