package mlflow

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
)

// FileInfo is an artifact: a file or a folder.
type FileInfo struct {
	Path      string // from the root of the artifacts
	IsDir     bool
	SizeBytes int64 // 0 for a folder
}

// unsupportedURI is the error for artifacts that neither the server passes on
// nor a store keeps.
func unsupportedURI(uri string) error {
	scheme, _, _ := strings.Cut(uri, ":")
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "Artifacts",
		Message: fmt.Sprintf("artifacts at %s:… are not reached through this server; set Options.Artifacts.Stores[%q] (s3: package mlflow/s3store), or start the server with --serve-artifacts and --artifacts-destination", scheme, scheme)}
}

// Artifacts lists what lies in the folder at path, without its subfolders; ""
// is the root. A folder that is not there is empty.
//
// of is a run by ID or UID, or a URI: mlflow-artifacts:/…, runs:/run/path,
// models:/name/version, models:/name@alias, models:/m-…, or one whose scheme
// has a [Store].
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts
func (c *Client) Artifacts(ctx context.Context, of, dir string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		root, err := c.art.root(ctx, of)
		if err != nil {
			yield(FileInfo{}, err)
			return
		}
		for f, err := range c.art.list(ctx, root, dir) {
			if !yield(f, err) {
				return
			}
		}
	}
}

// list is Artifacts below a root.
func (a *artifacts) list(ctx context.Context, root, dir string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		dir, err := cleanPath(dir)
		if err != nil {
			yield(FileInfo{}, err)
			return
		}
		store, err := a.store(root)
		if err != nil {
			yield(FileInfo{}, err)
			return
		}
		for f, err := range store.List(ctx, join(root, dir)) {
			if name, perr := cleanPath(f.Path); err == nil && (perr != nil || name == "" || strings.Contains(name, "/")) {
				err = invalid("Artifacts", "the server lists a file named %q in %q", f.Path, dir)
			}
			if err != nil {
				yield(FileInfo{}, err)
				return
			}
			f.Path = path.Join(dir, f.Path)
			if !yield(f, nil) {
				return
			}
		}
	}
}

// walk visits the files below a folder.
func (a *artifacts) walk(ctx context.Context, root, dir string, visit func(FileInfo) error) error {
	var files []FileInfo
	err := a.patient(ctx, func() (err error) {
		files, err = mlops.Collect(a.list(ctx, root, dir))
		return err
	})
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir {
			err = a.walk(ctx, root, f.Path, visit)
		} else {
			err = visit(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Upload stores src at artifactPath; what is there is replaced. It returns nil
// only when the server has it whole. What was cut off is sent again: in parts
// where [ArtifactOptions].Presigned or the [Store] allow it, whole elsewhere.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) Upload(ctx context.Context, to string, src Source, artifactPath string) error {
	root, err := c.art.root(ctx, to)
	if err != nil {
		return err
	}
	return c.art.put(ctx, root, artifactPath, src)
}

// UploadFile stores a local file at artifactPath, as [Client.Upload] does. The
// file is not held in memory; the error matches [mlops.ErrConflict] if it
// changed meanwhile.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) UploadFile(ctx context.Context, to, localPath, artifactPath string) error {
	root, err := c.art.root(ctx, to)
	if err != nil {
		return err
	}
	return c.art.putFile(ctx, root, localPath, artifactPath)
}

// UploadBytes stores b at artifactPath, as [Client.Upload] does.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) UploadBytes(ctx context.Context, to string, b []byte, artifactPath string) error {
	return c.Upload(ctx, to, bytes.NewReader(b), artifactPath)
}

// UploadDir stores the files below a local folder, with their folders, in
// artifactDir. Several are on their way at once; the sizes of all are compared
// with the server's list.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) UploadDir(ctx context.Context, to, localDir, artifactDir string) error {
	root, err := c.art.root(ctx, to)
	if err != nil {
		return err
	}
	return c.art.putDir(ctx, root, localDir, artifactDir)
}

// DeleteArtifacts removes a file, or a folder with all that lies in it. It is
// no error if there is nothing.
//
// MLflow REST: DELETE /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) DeleteArtifacts(ctx context.Context, of, artifactPath string) error {
	p, err := cleanPath(artifactPath)
	if err != nil {
		return err
	}
	if p == "" {
		return invalid("DeleteArtifacts", "name what is to be deleted; the root of the artifacts is not")
	}
	root, err := c.art.root(ctx, of)
	if err != nil {
		return err
	}
	store, err := c.art.store(root)
	if err != nil {
		return err
	}
	return store.Delete(ctx, join(root, p))
}

// parallel is how many requests with artifacts are on their way at once. One
// worker of MLflow's server takes some 200 small files a second from however
// many; eight keep its four workers busy.
const parallel = 8

// percentCode is what MLflow decodes once more after HTTP did, so that the file
// would lie under another name (validate_path_is_safe in mlflow/utils/uri.py).
var percentCode = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// uploadPath is the plain form of a path that an artifact may be stored at.
func uploadPath(artifactPath string) (string, error) {
	p, err := cleanPath(artifactPath)
	switch {
	case err != nil:
		return "", err
	case p == "":
		return "", invalid("Upload", "an artifact needs a path")
	case strings.Contains(p, "#") || percentCode.MatchString(p):
		return "", invalid("Upload", "artifact path %q: MLflow takes no # and reads %%41 as A; rename the file", p)
	case !utf8.ValidString(p) || strings.ContainsFunc(p, control):
		return "", invalid("Upload", "artifact path %q: MLflow stores control characters, and what is not UTF-8, under another name; rename the file", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > maxComponent {
			return "", invalid("Upload", "artifact path %.40q…: a name of %d bytes; %d is the most", part, len(part), maxComponent)
		}
	}
	return p, nil
}

// maxComponent is the longest name, in bytes, that file systems take.
const maxComponent = 255

// control reports whether r is one of the characters that MLflow's addresses drop
// (tab, line break) or write as a code (the others).
func control(r rune) bool { return r < 0x20 || r == 0x7f }

func (a *artifacts) put(ctx context.Context, root, artifactPath string, src Source) error {
	if src == nil {
		return invalid("Upload", "%s: no source is given", artifactPath)
	}
	p, err := uploadPath(artifactPath)
	if err != nil {
		return err
	}
	store, err := a.store(root)
	if err != nil {
		return err
	}
	if err := store.Put(ctx, join(root, p), src); err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

func (a *artifacts) putBytes(ctx context.Context, root string, b []byte, artifactPath string) error {
	return a.put(ctx, root, artifactPath, bytes.NewReader(b))
}

func (a *artifacts) putFile(ctx context.Context, root, localPath, artifactPath string) error {
	f, err := os.Open(localPath)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = a.sendFile(ctx, root, f, artifactPath)
	return err
}

// putInside stores the file called name of a local folder, and none that a link
// leads to outside, and returns its size.
func (a *artifacts) putInside(ctx context.Context, root, dir, name, artifactPath string) (int64, error) {
	f, err := openInside(dir, name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return a.sendFile(ctx, root, f, artifactPath)
}

// openInside opens a file of a folder for reading. A link that leads out of the
// folder is refused.
func openInside(dir, name string) (*os.File, error) {
	f, err := os.OpenInRoot(dir, filepath.FromSlash(name))
	if err != nil && leadsOut(dir, name) {
		return nil, outside(dir, name)
	}
	return f, err
}

// leadsOut reports whether a name of a folder is a link, or lies behind one, that
// leads to a file outside.
func leadsOut(dir, name string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	_, inner := root.Stat(filepath.FromSlash(name))
	_, outer := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	return inner != nil && outer == nil
}

func outside(dir, name string) error {
	return invalid("UploadDir", "%s is a link that leads out of %s: copy the file it names, or leave it out", name, dir)
}

// sendFile stores an open local file and returns its size.
func (a *artifacts) sendFile(ctx context.Context, root string, f *os.File, artifactPath string) (int64, error) {
	localPath := f.Name()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, invalid("UploadFile", "%s is not a file", localPath)
	}
	if err := a.put(ctx, root, artifactPath, io.NewSectionReader(f, 0, info.Size())); err != nil {
		return 0, err
	}
	now, err := f.Stat()
	if err == nil && (now.Size() != info.Size() || !now.ModTime().Equal(info.ModTime())) {
		err = &mlops.Error{Kind: mlops.ErrConflict, Service: "mlflow", Op: "Upload", Message: localPath + " changed while it was sent"}
	}
	return info.Size(), err
}

func (a *artifacts) putDir(ctx context.Context, root, localDir, artifactDir string) error {
	to, err := cleanPath(artifactDir)
	if err != nil {
		return err
	}
	files, err := localFiles(localDir)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	sizes := map[string]map[string]int64{} // by folder and name
	ctx = journey(ctx)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, f := range files {
		g.Go(func() error {
			p := path.Join(to, f)
			n, err := a.putInside(gctx, root, localDir, f, p)
			mu.Lock()
			defer mu.Unlock()
			dir, name := path.Dir(p), path.Base(p)
			if sizes[dir] == nil {
				sizes[dir] = map[string]int64{}
			}
			sizes[dir][name] = n
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if !strings.HasPrefix(root, proxied+":") {
		return nil // a Store answers for itself
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for dir, want := range sizes {
		g.Go(func() error {
			if dir == "." {
				dir = ""
			}
			var wrong error
			err := a.patient(gctx, func() error {
				err := a.verifySizes(gctx, join(root, dir), want)
				if errors.Is(err, errHalf) {
					wrong, err = err, nil
				}
				return err
			})
			return cmp.Or(wrong, err)
		})
	}
	return g.Wait()
}

// localFiles lists the files below dir, with slashes. A link to a file of the
// folder counts as the file; links that lead out, links to folders and other
// things are refused.
func localFiles(dir string) ([]string, error) {
	var out []string
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	err = fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		local := filepath.Join(dir, filepath.FromSlash(p))
		info, err := root.Stat(filepath.FromSlash(p))
		if err != nil && leadsOut(dir, p) {
			return outside(dir, p)
		}
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return invalid("UploadDir", "%s is neither a file nor a folder", local)
		}
		out = append(out, p)
		return nil
	})
	return out, err
}
