package http

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

// Stat asks for an object's headers, by GET where HEAD is not spoken or does
// not tell the size. The ETag is the server's, or its Content-MD5; without them
// it is a number made of all that the server tells, as dvc has it.
//
// Source: fsspec/implementations/http.py (_info), fsspec/spec.py (checksum).
func (s *Store) Stat(ctx context.Context, key string) (remote.Object, error) {
	told := &headers{size: -1}
	err := told.ask(ctx, s, http.MethodHead, key)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) && ctx.Err() == nil || err == nil && told.size < 0 {
		err = told.ask(ctx, s, http.MethodGet, key)
	}
	if err != nil {
		return remote.Object{}, err
	}
	o := remote.Object{Key: key, SizeBytes: told.size, ETag: told.get("ETag")}
	if o.ETag == "" {
		o.ETag = told.get("Content-MD5")
	}
	if o.ETag == "" {
		o.ETag = told.number()
	}
	return o, nil
}

// headers is what a server says about an object, in the order that fsspec keeps.
type headers struct {
	name string
	size int64
	rest [][2]string // keys, and values as Python shows them
	text map[string]string
}

func (t *headers) get(key string) string { return t.text[key] }

func (t *headers) ask(ctx context.Context, s *Store, method, key string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resp, err := s.do(ctx, method, key, http.Header{"Accept-Encoding": {"identity"}}, nil, 0)
	if err != nil {
		return err
	}
	if method == http.MethodHead {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
	t.name, t.text = resp.Request.URL.String(), map[string]string{}
	for r := resp.Request; r.Response != nil; { // the first of what led here
		r = r.Response.Request
		t.name = r.URL.String()
	}
	if e := resp.Header.Get("Content-Encoding"); resp.ContentLength >= 0 && (e == "" || e == "identity") {
		t.size = resp.ContentLength
	}
	if v := resp.Header.Get("Content-Type"); v != "" {
		v, _, _ = strings.Cut(v, ";")
		t.set("mimetype", v)
	}
	if resp.Header.Get("Accept-Ranges") == "none" {
		t.put("partial", "False")
	}
	t.set("url", resp.Request.URL.String())
	for _, h := range []string{"ETag", "Content-MD5", "Digest", "Last-Modified"} {
		if v := resp.Header.Get(h); v != "" {
			t.set(h, v)
		}
	}
	return nil
}

func (t *headers) set(key, val string) {
	t.text[key] = val
	quote := "'"
	if strings.Contains(val, "'") && !strings.Contains(val, `"`) {
		quote = `"`
	}
	val = strings.ReplaceAll(val, `\`, `\\`)
	if quote == "'" {
		val = strings.ReplaceAll(val, "'", `\'`)
	}
	t.put(key, quote+val+quote)
}

func (t *headers) put(key, shown string) {
	for i, f := range t.rest {
		if f[0] == key {
			t.rest[i][1] = shown
			return
		}
	}
	t.rest = append(t.rest, [2]string{key, shown})
}

// number is the md5 of what Python shows of it, as a decimal number.
func (t *headers) number() string {
	size := "None"
	if t.size >= 0 {
		size = strconv.FormatInt(t.size, 10)
	}
	text := fmt.Sprintf("({'name': '%s', 'size': %s", t.name, size)
	for _, f := range t.rest {
		text += fmt.Sprintf(", '%s': %s", f[0], f[1])
	}
	sum := md5.Sum([]byte(text + ", 'type': 'file'},)"))
	return new(big.Int).SetBytes(sum[:]).String()
}
