package mlflow

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

const proxy = "/api/2.0/mlflow-artifacts/"

// proxyStore reaches artifacts through the tracking server.
type proxyStore struct {
	c     *Client
	small bool // what is read is not worth the question for a signature
}

// within is the path of an address behind the proxy.
func within(uri string) string {
	return strings.Trim(strings.TrimPrefix(uri, proxied+":"), "/")
}

// escape makes a URL path of an address.
func escape(verb, uri string) string {
	parts := strings.Split(within(uri), "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return proxy + verb + "/" + strings.Join(parts, "/")
}

// List asks for one folder; the proxy knows no pages.
func (s proxyStore) List(ctx context.Context, uri string) iter.Seq2[FileInfo, error] {
	return pages(func(string) ([]FileInfo, string, error) {
		out, err := transport.Do[struct {
			Files []struct {
				Path  string  `json:"path"`
				IsDir bool    `json:"is_dir"`
				Size  wireInt `json:"file_size"`
			} `json:"files"`
		}](ctx, s.c.tracking(), transport.Call{Op: "Artifacts", Method: "GET", Path: proxy + "artifacts", Query: url.Values{"path": {within(uri)}}, Idempotent: true})
		files := make([]FileInfo, 0, len(out.Files))
		for _, f := range out.Files {
			files = append(files, FileInfo{f.Path, f.IsDir, int64(f.Size)})
		}
		return files, "", err
	})
}

// Open asks for a part by Range, and by If-Range if its version is known.
func (s proxyStore) Open(ctx context.Context, uri string, span Range) (*Object, error) {
	if !s.small {
		if obj, err := s.c.art.openSigned(ctx, uri, span); obj != nil || err != nil {
			return obj, err
		}
	}
	obj, err := openAt(ctx, s.c.tracking(), transport.Call{Op: "Download", Method: "GET", Path: escape("artifacts", uri), Idempotent: true}, span)
	if err != nil || obj.Size >= 0 {
		return obj, err
	}
	return s.notFolder(ctx, uri, obj)
}

// notFolder finds out whether an object of unknown size is a file. A server
// with its artifacts in S3 has said yes before it opens what it fetched, and
// answers nothing, or breaks off, if that is a folder.
func (s proxyStore) notFolder(ctx context.Context, uri string, obj *Object) (*Object, error) {
	first := bufio.NewReader(obj.Body)
	if _, err := first.Peek(1); err != nil {
		for _, err := range s.List(ctx, uri) {
			if err == nil {
				err = &mlops.Error{Kind: mlops.ErrInvalid, Service: "mlflow", Op: "Download", Status: http.StatusOK,
					Message: fmt.Sprintf("artifact path refers to a directory, not a file: %q", within(uri))}
			}
			obj.Body.Close()
			return nil, err
		}
	}
	obj.Body = struct {
		io.Reader
		io.Closer
	}{first, obj.Body}
	return obj, nil
}

// openAt reads a part of whatever a call answers.
func openAt(ctx context.Context, t *transport.Client, call transport.Call, span Range) (*Object, error) {
	header := http.Header{"Accept-Encoding": {"identity"}}
	for k, v := range call.Header {
		header[k] = v
	}
	if span.From > 0 || span.To > 0 {
		last := ""
		if span.To > 0 {
			last = strconv.FormatInt(span.To-1, 10)
		}
		header.Set("Range", fmt.Sprintf("bytes=%d-%s", span.From, last))
		if span.Version != "" && !strings.HasPrefix(span.Version, "W/") {
			header.Set("If-Range", span.Version)
		}
	}
	ranged := call
	ranged.Header = header
	resp, err := transport.Open(ctx, t, ranged)
	if e, ok := errors.AsType[*mlops.Error](err); ok && e.Status == http.StatusRequestedRangeNotSatisfiable && span.From == 0 && span.To > 0 {
		return openAt(ctx, t, call, Range{Version: span.Version}) // it is empty
	}
	if err != nil {
		return nil, err
	}
	obj := &Object{Body: resp.Body, Size: resp.ContentLength, Version: resp.Header.Get("ETag")}
	if resp.StatusCode == http.StatusPartialContent {
		obj.Offset, obj.Size, err = contentRange(resp.Header.Get("Content-Range"))
		if err == nil && obj.Offset != span.From {
			err = fmt.Errorf("it begins at byte %d, not %d", obj.Offset, span.From)
		}
		if err != nil {
			resp.Body.Close()
			return nil, &mlops.Error{Kind: mlops.ErrInvalid, Service: "mlflow", Op: call.Op, Status: resp.StatusCode, Message: "the answer is not the part that was asked for: " + err.Error()}
		}
	}
	if span.Version != "" && obj.Version != span.Version {
		resp.Body.Close()
		return nil, changed(call.Op, call.Path)
	}
	return obj, nil
}

// changed is the error for an object that is no longer the one that was begun.
func changed(op, what string) error {
	return &mlops.Error{Kind: mlops.ErrConflict, Service: "mlflow", Op: op, Message: what + " was replaced while it was read"}
}

// contentRange reads "bytes 5-9/10". A size of "*" will not do: no reader could
// tell a part from the whole.
func contentRange(s string) (from, size int64, err error) {
	unit, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	span, total, ok := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	from, err1 := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	size, err3 := strconv.ParseInt(total, 10, 64)
	if unit != "bytes" || !ok || !ok2 || err1 != nil || err2 != nil || err3 != nil || from < 0 || to < from || to >= size {
		return 0, 0, fmt.Errorf("Content-Range %.60q", s)
	}
	return from, size, nil
}

// Delete removes a file or a folder.
func (s proxyStore) Delete(ctx context.Context, uri string) error {
	_, err := transport.Do[transport.None](ctx, s.c.tracking(), transport.Call{Op: "DeleteArtifacts", Method: "DELETE", Path: escape("artifacts", uri), Idempotent: true})
	if errors.Is(err, mlops.ErrNotFound) {
		return nil
	}
	return err
}

// Put sends src in parts if it is large and the server offers that, else
// whole. What was cut off is sent again from the start.
func (s proxyStore) Put(ctx context.Context, uri string, src Source) error {
	if done, err := s.c.art.putSigned(ctx, uri, src); done || err != nil {
		return err
	}
	st := stamina{c: s.c}
	under := begun(ctx)
	for wrong := 0; ; {
		sent, err := s.putOnce(ctx, uri, src)
		if sent > 0 {
			under = true
			begin(ctx)
		}
		if err == nil {
			if err = s.verify(ctx, uri, src.Size()); err == nil {
				return nil
			}
			if errors.Is(err, errHalf) {
				wrong++
			}
		}
		if !under || wrong == 3 {
			return err
		}
		if err := st.again(ctx, err); err != nil {
			return err
		}
	}
}

// inOnePiece is the size up to which a body leaves together with its header. A
// server that fails on the header alone closes the connection, and its answer is
// lost with what it did not read.
const inOnePiece = 32 << 10

// putOnce stores src and returns how much of it was taken.
func (s proxyStore) putOnce(ctx context.Context, uri string, src Source) (int64, error) {
	var most atomic.Int64
	var last *counted
	_, err := transport.Do[transport.None](ctx, s.c.tracking(), transport.Call{Op: "Upload", Method: "PUT", Path: escape("artifacts", uri), Idempotent: true,
		Raw: &transport.Stream{Size: src.Size(), ContentType: "application/octet-stream", Open: func() (io.ReadCloser, error) {
			if src.Size() <= inOnePiece {
				b, err := io.ReadAll(io.NewSectionReader(src, 0, src.Size()))
				return io.NopCloser(bytes.NewReader(b)), err
			}
			last = &counted{Reader: io.NewSectionReader(src, 0, src.Size()), most: &most}
			return last, nil
		}}})
	if last == nil && (err == nil || brokenOff(err)) {
		most.Store(src.Size())
	}
	if err == nil && last != nil && last.n.Load() != src.Size() {
		err = half("the server answered after %d of %d bytes", last.n.Load(), src.Size())
	}
	return most.Load(), err
}

// errHalf marks an object that the server did not take whole.
var errHalf = errors.New("half written")

func half(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Upload", Message: fmt.Sprintf(format, args...), Cause: errHalf}
}

// counted is a body that knows how much of it was read.
type counted struct {
	io.Reader
	n    atomic.Int64
	most *atomic.Int64 // of all tries
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.most.Store(max(c.most.Load(), c.n.Add(int64(n))))
	return n, err
}

func (c *counted) Close() error { return nil }

// verifyFrom is the size from which an upload is looked up afterwards. What is
// smaller is in the server's hands before it can answer.
const verifyFrom = 1 << 20

// verify compares the size of what lies at uri.
func (s proxyStore) verify(ctx context.Context, uri string, size int64) error {
	if size < verifyFrom {
		return nil
	}
	dir, name := path.Split(within(uri))
	return s.c.art.verifySizes(ctx, proxied+":/"+dir, map[string]int64{name: size})
}

// verifySizes compares what a folder holds with what was stored there.
func (a *artifacts) verifySizes(ctx context.Context, dir string, want map[string]int64) error {
	store, err := a.store(dir)
	if err != nil {
		return err
	}
	got := map[string]int64{}
	for f, err := range store.List(ctx, dir) {
		if err != nil {
			return err
		}
		if !f.IsDir {
			got[f.Path] = f.SizeBytes
		}
	}
	for name, size := range want {
		if n, ok := got[name]; !ok {
			return half("the server answered, but does not list %q", name)
		} else if n != size {
			return half("the server has %d of the %d bytes of %q", n, size, name)
		}
	}
	return nil
}
