// Package remote is what a DVC remote is to this module: a place that keeps
// objects under keys such as "files/md5/ab/cdef…".
//
// Drivers register themselves for a URL scheme, as database drivers do:
//
//	import _ "github.com/mlops-integration/mlops/dvc/remote/local"
//
// A driver knows nothing of .dvc files, hashes of directories or caches; it
// moves bytes. Package dvc decides what is moved and in which order.
package remote

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

// Store is an open remote. Its methods are safe for concurrent use.
type Store interface {
	// Missing returns those of keys that the remote does not have. The driver
	// chooses between asking for each and listing.
	Missing(ctx context.Context, keys []string) ([]string, error)

	// Get opens an object. The error matches [mlops.ErrNotFound] if there is
	// none. The caller closes the reader and checks what came.
	Get(ctx context.Context, key string) (io.ReadCloser, error)

	// Put stores a blob under key, whole or not at all. If its bytes have
	// another md5, nothing is stored and the error matches [mlops.ErrInvalid].
	// An existing object is replaced.
	Put(ctx context.Context, key string, b Blob) error
}

// Blob is what [Store.Put] stores.
type Blob struct {
	Body *io.SectionReader // read from its start whatever was read of it before, more than once if it has to be
	MD5  string            // of the bytes, 32 hex digits

	// Moved is called as parts of a large object arrive, with how many bytes
	// have arrived since; nil to not be told. A driver need not call it for what
	// is sent in one request.
	Moved func(n int64)
}

// Report calls Moved, if there is one.
func (b Blob) Report(n int64) {
	if b.Moved != nil {
		b.Moved(n)
	}
}

// Object is what a remote holds under a key.
type Object struct {
	Key       string
	SizeBytes int64 // -1 if the remote does not tell

	// ETag changes with the content, as dvc writes it into the .dvc file of an
	// import; "" where the remote has none, or does not tell it in a list.
	ETag string
}

// Stater is a [Store] that can tell about one object.
type Stater interface {
	// Stat asks for an object. The error matches [mlops.ErrNotFound] if there
	// is none.
	Stat(ctx context.Context, key string) (Object, error)
}

// Lister is a [Store] that can tell what it holds. HTTP servers cannot.
type Lister interface {
	// List yields the objects whose keys begin with prefix, which is empty or
	// ends with "/", in no particular order.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
}

// Remover is a [Store] that can delete.
type Remover interface {
	// Remove deletes an object. One that is not there is no error.
	Remove(ctx context.Context, key string) error
}

// Upload is an upload that was begun and neither finished nor taken back: the
// program that began it was killed, or is still at work.
type Upload struct {
	Key   string // of the object it was to become; "" when the remote does not tell
	ID    string // the remote's name for it
	Began time.Time
}

// Uploads is a [Store] that keeps parts of unfinished uploads, which cost
// space. They are never taken for objects.
type Uploads interface {
	Unfinished(ctx context.Context) iter.Seq2[Upload, error]
	Discard(ctx context.Context, u Upload) error
}

// CheckKey refuses a key that could lead out of a remote. Drivers call it
// before they make a path of a key. The error matches [mlops.ErrInvalid].
func CheckKey(key string) error {
	if !fs.ValidPath(key) || key == "." || strings.ContainsAny(key, "\\\x00") {
		return fmt.Errorf("dvc: remote key %q: %w", key, mlops.ErrInvalid)
	}
	return nil
}

// Config is one remote of the DVC configuration.
type Config struct {
	Name    string
	URL     string            // as DVC resolves it: a directory's absolute path, or scheme://…
	Options map[string]string // all keys of the section but url; may hold secrets
	Limit   *Limit            // of bytes per second; nil is none

	// Exact says that URL names one object, with its query, and not where
	// objects are kept: any key means that object. HTTP alone knows it.
	Exact bool
}

// String leaves out the options, and the URL, which may hold a password.
func (c Config) String() string { return fmt.Sprintf("remote %q", c.Name) }

// GoString is String.
func (c Config) GoString() string { return c.String() }

// Opener opens the remote that c describes. It makes no request that could
// change something.
type Opener func(ctx context.Context, c Config) (Store, error)

var (
	mu      sync.RWMutex
	openers = map[string]Opener{}
)

// Register makes a driver known for a URL scheme: "s3", "gs", and "" for a
// plain directory. It is called from a driver's init and panics when the
// scheme is taken.
func Register(scheme string, open Opener) {
	mu.Lock()
	defer mu.Unlock()
	if _, taken := openers[scheme]; taken {
		panic("remote: two drivers for scheme " + scheme)
	}
	openers[scheme] = open
}

// Open opens the remote with the driver of its URL's scheme. The error matches
// [mlops.ErrUnsupported] when no driver is linked in for it.
func Open(ctx context.Context, c Config) (Store, error) {
	scheme := Scheme(c.URL)
	mu.RLock()
	open, ok := openers[scheme]
	mu.RUnlock()
	if ok {
		return open(ctx, c)
	}
	if scheme == "" {
		return nil, fmt.Errorf("dvc: remote %q is a directory, and the program does not link dvc/remote/local: %w", c.Name, mlops.ErrUnsupported)
	}
	return nil, fmt.Errorf("dvc: remote %q: no driver for %s:// (linked: %s): %w", c.Name, scheme, strings.Join(Schemes(), " "), mlops.ErrUnsupported)
}

// Schemes lists the schemes that have a driver; a directory counts as "local".
func Schemes() []string {
	mu.RLock()
	defer mu.RUnlock()
	var out []string
	for s := range openers {
		if s == "" {
			s = "local"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

var hasScheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)

// Scheme returns the lower-case scheme of a remote's URL, "" for a directory.
// DVC takes file:// and local:// for directories, too.
func Scheme(url string) string {
	m := hasScheme.FindStringSubmatch(url)
	if m == nil {
		return ""
	}
	s := strings.ToLower(m[1])
	if s == "file" || s == "local" {
		return ""
	}
	return s
}
