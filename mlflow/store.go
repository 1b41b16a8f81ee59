package mlflow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Store keeps artifacts under addresses of one scheme, such as "s3". A Client
// uses it for artifact URIs that the server does not pass on; mlflow/s3store
// is one. A Store is safe for concurrent use.
//
// An address is the artifact URI as MLflow has it, then "/" and the path of the
// artifact. Nothing in it is escaped: "s3://bucket/1/run/artifacts/a b%.txt".
type Store interface {
	// List yields what lies directly in a folder; Path is the name within it.
	// A folder that is not there is empty.
	List(ctx context.Context, uri string) iter.Seq2[FileInfo, error]
	// Open begins to read an object. The error matches [mlops.ErrNotFound] if
	// it is not there, and [mlops.ErrConflict] if it is not span.Version.
	Open(ctx context.Context, uri string, span Range) (*Object, error)
	// Put stores src whole, or returns an error.
	Put(ctx context.Context, uri string, src Source) error
	// Delete removes an object, or all that lies in a folder. It is no error
	// if there is nothing.
	Delete(ctx context.Context, uri string) error
}

// Range is the part of an object that is wanted. The zero value is all of it.
type Range struct {
	From, To int64  // To is the first byte that is not wanted; 0: to the end
	Version  string // of an earlier [Object]; empty: whatever is there
}

// Object is an object that is being read; the reader closes Body.
type Object struct {
	Body    io.ReadCloser
	Offset  int64  // where Body begins: Range.From, or 0 if the store cannot begin elsewhere
	Size    int64  // of the whole object; -1 when it is not known: then Body goes to its end
	Version string // equal versions have equal bytes; empty when it is not known
}

// Source is what is stored: a [bytes.Reader], a [strings.Reader], an
// [io.SectionReader] of a file. It must not change meanwhile.
type Source interface {
	io.ReaderAt
	Size() int64
}

// ArtifactOptions say how artifacts travel. The zero value sends them through
// the server.
type ArtifactOptions struct {
	// Stores are asked for artifact URIs of other schemes than the server's
	// own, by scheme: {"s3": s3store.New(…)}.
	Stores map[string]Store

	// Presigned lets large files travel between here and the object store
	// behind the server, by URLs that the server signs. A server that does not
	// offer it is asked once. The credentials for the server do not go along.
	// Python: MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD and …_DOWNLOAD.
	Presigned bool
	// PresignedFrom is the least size of an upload that is cut into parts;
	// 0: 64 MiB.
	PresignedFrom int64
	// PartSize is how much of a large file is one request; 0: 16 MiB.
	PartSize int64

	// Patience is how long a transfer that had begun is tried without a byte
	// when the server is gone; 0: 2 min.
	Patience time.Duration
}

// ArtifactOptionsFromEnv reads what MLflow's Python client reads:
// MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD, MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD,
// MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE and
// MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE. Stores are left to the caller.
func ArtifactOptionsFromEnv() (ArtifactOptions, error) {
	var o ArtifactOptions
	for _, name := range []string{"MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"} {
		switch v := strings.ToLower(os.Getenv(name)); v {
		case "true", "1":
			o.Presigned = true
		case "", "false", "0":
		default:
			return o, invalid("ArtifactOptionsFromEnv", "%s is %q: want true or false", name, v)
		}
	}
	for name, into := range map[string]*int64{
		"MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": &o.PresignedFrom, "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": &o.PartSize,
	} {
		v := os.Getenv(name)
		if v == "" {
			continue
		}
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n <= 0 {
			return o, invalid("ArtifactOptionsFromEnv", "%s is %q: want a number of bytes", name, v)
		}
		*into = n
	}
	return o, nil
}

// artifacts stores and reads artifacts for a client.
type artifacts struct {
	c *Client
	*artifactState
}

// artifactState is what a client and its copies share: options, and what was
// learned about the server.
type artifactState struct {
	opt     ArtifactOptions
	noParts atomic.Bool // the server offers no multipart upload
	noURLs  atomic.Bool // the server signs no downloads
	mu      sync.Mutex
	direct  map[string]*transport.Client // by origin
}

func newArtifacts(opt ArtifactOptions) *artifacts {
	opt.PresignedFrom = cmp.Or(opt.PresignedFrom, 64<<20)
	opt.PartSize = cmp.Or(opt.PartSize, 16<<20)
	opt.Patience = cmp.Or(opt.Patience, 2*time.Minute)
	return &artifacts{artifactState: &artifactState{opt: opt, direct: map[string]*transport.Client{}}}
}

// proxied is the scheme of artifacts that the server passes on.
const proxied = "mlflow-artifacts"

// store is where an artifact address leads.
func (a *artifacts) store(uri string) (Store, error) {
	scheme, _, _ := strings.Cut(uri, ":")
	if scheme == proxied {
		return proxyStore{c: a.c}, nil
	}
	if s, ok := a.opt.Stores[scheme]; ok {
		return s, nil
	}
	return nil, unsupportedURI(uri)
}

// join is the address of what lies at a clean path below root.
func join(root, path string) string {
	if path == "" {
		return root
	}
	return strings.TrimSuffix(root, "/") + "/" + path
}

// stamina decides how long a transfer is tried after it was cut.
type stamina struct {
	c     *Client
	since time.Time // the first failure after the last byte
	tries int
}

// moved says that a byte came through.
func (s *stamina) moved() { s.since, s.tries = time.Time{}, 0 }

// again waits before another try. It returns err if there is to be none.
func (s *stamina) again(ctx context.Context, err error) error {
	if ctx.Err() != nil || s.c.tries <= 1 || !cutOff(err) {
		return err
	}
	now := time.Now()
	if s.since.IsZero() {
		s.since = now
	}
	if now.Sub(s.since) > s.c.art.opt.Patience {
		return fmt.Errorf("nothing came through for %s: %w", s.c.art.opt.Patience, err)
	}
	s.tries++
	if s.c.pause(ctx, backoff(s.tries, 5*time.Second)) != nil {
		return err
	}
	return nil
}

type journeyKey struct{}

// journey is a context whose transfers belong together: when one has begun, the
// others are worth waiting for as well.
func journey(ctx context.Context) context.Context {
	if ctx.Value(journeyKey{}) != nil {
		return ctx
	}
	return context.WithValue(ctx, journeyKey{}, new(atomic.Bool))
}

func begun(ctx context.Context) bool {
	b, ok := ctx.Value(journeyKey{}).(*atomic.Bool)
	return ok && b.Load()
}

func begin(ctx context.Context) {
	if b, ok := ctx.Value(journeyKey{}).(*atomic.Bool); ok {
		b.Store(true)
	}
}

// patient repeats what belongs to a journey that has begun.
func (a *artifacts) patient(ctx context.Context, try func() error) error {
	st := stamina{c: a.c}
	for {
		err := try()
		if err == nil {
			begin(ctx)
			return nil
		}
		if !begun(ctx) {
			return err
		}
		if err := st.again(ctx, err); err != nil {
			return err
		}
	}
}

// cutOff reports whether err may go away: the server is not there, or a
// connection was cut while a body was read.
func cutOff(err error) bool {
	if _, ok := errors.AsType[*mlops.Error](err); ok {
		return errors.Is(err, mlops.ErrUnavailable) || errors.Is(err, mlops.ErrRateLimited)
	}
	return true
}
