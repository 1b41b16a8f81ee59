package mlflow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// signed is a request that the server signed.
type signed struct {
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

// signedCall turns it into a call without our credentials.
func (a *artifacts) signedCall(op, method string, s signed) (*transport.Client, transport.Call, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, transport.Call{}, invalid(op, "the server signed something that is no URL")
	}
	origin := url.URL{Scheme: u.Scheme, Host: u.Host}
	a.mu.Lock()
	defer a.mu.Unlock()
	t, ok := a.direct[origin.String()]
	if !ok {
		t, err = transport.New(transport.Options{Service: "mlflow", BaseURL: origin.String(), Logger: a.c.log, Tries: a.c.tries, DecodeError: decodeS3})
		if err != nil {
			return nil, transport.Call{}, err
		}
		a.direct[origin.String()] = t
	}
	header := http.Header{}
	for k, v := range s.Headers {
		header.Set(k, v)
	}
	return t, transport.Call{Op: op, Method: method, Path: cmp.Or(u.EscapedPath(), "/"), Query: u.Query(), Header: header, Idempotent: true}, nil
}

// s3Kinds are the codes of object stores whose status does not say enough.
var s3Kinds = map[string]error{
	"RequestTimeout": mlops.ErrUnavailable, "SlowDown": mlops.ErrRateLimited, "NoSuchUpload": mlops.ErrNotFound, "NoSuchKey": mlops.ErrNotFound,
}

// decodeS3 reads the error of an object store, which is XML.
func decodeS3(status int, _ string, body []byte) *mlops.Error {
	var e struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	if xml.NewDecoder(bytes.NewReader(body)).Decode(&e) != nil || e.Code == "" {
		return nil
	}
	return &mlops.Error{Kind: s3Kinds[e.Code], Code: e.Code, Message: cut(e.Message)}
}

// offered reports whether err says that the server has no such thing.
func offered(err error) bool { return !errors.Is(err, mlops.ErrUnsupported) }

// openSigned opens an object past the server. It returns nil if that is not
// wanted or not offered.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/presigned/{path}
func (a *artifacts) openSigned(ctx context.Context, uri string, span Range) (*Object, error) {
	if !a.opt.Presigned || a.noURLs.Load() {
		return nil, nil
	}
	s, err := transport.Do[signed](ctx, a.c.tracking(), transport.Call{Op: "Download", Method: "GET", Path: escape("presigned", uri), Idempotent: true})
	if err != nil {
		if !offered(err) {
			a.noURLs.Store(true)
			return nil, nil
		}
		return nil, err
	}
	t, call, err := a.signedCall("Download", "GET", s)
	if err != nil {
		return nil, err
	}
	return openAt(ctx, t, call, span)
}

// part is one part of an upload that the object store has.
type part struct {
	Number int    `json:"part_number"`
	ETag   string `json:"etag"`
}

// putSigned stores a large object past the server, part by part: a part that
// is cut is sent again, the others are not. It returns false if that is not
// wanted or not offered. An upload that fails is taken back.
//
// MLflow REST: POST /api/2.0/mlflow-artifacts/mpu/create/{path}, …/complete, …/abort
func (a *artifacts) putSigned(ctx context.Context, uri string, src Source) (bool, error) {
	opt := &a.opt
	if !opt.Presigned || src.Size() < opt.PresignedFrom || a.noParts.Load() {
		return false, nil
	}
	const most = 10_000 // parts of an object
	step := max(opt.PartSize, 5<<20, (src.Size()+most-1)/most)
	parts := int((src.Size() + step - 1) / step)
	dir, name := path.Split(within(uri))
	at := proxied + ":/" + dir
	made, err := transport.Do[struct {
		ID    string `json:"upload_id"`
		Parts []struct {
			signed
			Number int `json:"part_number"`
		} `json:"credentials"`
	}](ctx, a.c.tracking(), transport.Call{Op: "Upload", Method: "POST", Path: escape("mpu/create", at), Body: map[string]any{"path": name, "num_parts": parts}, Idempotent: true})
	if err != nil {
		if !offered(err) {
			a.noParts.Store(true)
			return false, nil
		}
		return false, err
	}
	end := func(ctx context.Context, verb string, more map[string]any) error {
		body := map[string]any{"path": name, "upload_id": made.ID}
		maps.Copy(body, more)
		_, err := transport.Do[json.RawMessage](ctx, a.c.tracking(), transport.Call{Op: "Upload", Method: "POST", Path: escape("mpu/"+verb, at), Body: body, Idempotent: true})
		return err
	}
	done := make([]part, parts)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	if len(made.Parts) != parts {
		err = invalid("Upload", "the server signed %d of %d parts", len(made.Parts), parts)
	}
	for i := range made.Parts[:min(parts, len(made.Parts))] {
		g.Go(func() error {
			p := made.Parts[i]
			from := int64(i) * step
			etag, err := a.putPart(gctx, p.signed, io.NewSectionReader(src, from, min(step, src.Size()-from)))
			done[i] = part{p.Number, etag}
			return err
		})
	}
	if err = errors.Join(err, g.Wait()); err == nil {
		err = end(ctx, "complete", map[string]any{"parts": done})
	}
	if err == nil {
		return true, (proxyStore{c: a.c}).verify(ctx, uri, src.Size())
	}
	gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if aerr := end(gone, "abort", nil); aerr != nil {
		err = fmt.Errorf("%w; the parts already there stay, for they could not be taken back: %w", err, aerr)
	}
	return true, err
}

// putPart stores one part and returns its tag.
func (a *artifacts) putPart(ctx context.Context, s signed, body *io.SectionReader) (string, error) {
	t, call, err := a.signedCall("Upload", "PUT", s)
	if err != nil {
		return "", err
	}
	call.Raw = &transport.Stream{Size: body.Size(), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(body, 0, body.Size())), nil
	}}
	st := stamina{c: a.c}
	for {
		resp, err := transport.Open(ctx, t, call)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if etag := strings.TrimSpace(resp.Header.Get("ETag")); err == nil && etag != "" {
				return etag, nil
			} else if err == nil {
				return "", invalid("Upload", "the object store took a part and gave it no ETag")
			}
		}
		if err := st.again(ctx, err); err != nil {
			return "", err
		}
	}
}

// SignedURL is a request to the object store that the server signed: its
// bearer may do that one thing until it expires. Keep it out of logs.
type SignedURL struct {
	URL       mlops.Secret
	Header    map[string]string // has to be sent along
	SizeBytes int64             // of what is to be downloaded; 0 when the server does not tell
}

type signedReply struct {
	URL     string            `json:"presigned_url"`
	Headers map[string]string `json:"headers"`
	Size    wireInt           `json:"file_size"`
}

// PresignDownload lets a GET of one artifact of a run be made
// without credentials. expires of 0 is the server's default, 5 minutes. The
// error matches [mlops.ErrInvalid] where the server passes artifacts on itself,
// and [mlops.ErrUnsupported] where their store signs nothing.
//
// MLflow REST: POST /api/2.0/mlflow/artifacts/presigned-download-url
func (c *Client) PresignDownload(ctx context.Context, run, file string, expires time.Duration) (SignedURL, error) {
	return c.art.presign(ctx, "PresignDownload", "artifacts/presigned-download-url", run, file, expires)
}

// PresignUpload lets a PUT of one artifact be made without
// credentials. of is a run, or a logged model by its "m-…"; expires of 0 is the
// server's default, 15 minutes. The errors are those of [Client.PresignDownload].
//
// MLflow REST: POST /api/2.0/mlflow/artifacts/presigned-upload-url
func (c *Client) PresignUpload(ctx context.Context, of, file string, expires time.Duration) (SignedURL, error) {
	return c.art.presign(ctx, "PresignUpload", "artifacts/presigned-upload-url", of, file, expires)
}

func (a *artifacts) presign(ctx context.Context, op, path, of, file string, expires time.Duration) (SignedURL, error) {
	if a == nil {
		return SignedURL{}, (*Client)(nil).usable(op)
	}
	file, err := cleanPath(file)
	if err != nil {
		return SignedURL{}, err
	}
	body := map[string]any{"path": file}
	if strings.HasPrefix(of, "m-") {
		body["model_id"] = of
	} else {
		run, err := a.c.RunInfo(ctx, of)
		if err != nil {
			return SignedURL{}, err
		}
		body["run_id"] = run.ID
	}
	if expires > 0 {
		body["expiration"] = int64(expires / time.Second)
	}
	out, err := send[signedReply](ctx, a.c, op, "POST", path, body)
	return SignedURL{mlops.Secret(out.URL), out.Headers, int64(out.Size)}, err
}
