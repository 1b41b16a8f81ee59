package mlflow

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// FileInfo is an artifact: a file or a folder.
type FileInfo struct {
	Path      string // from the root of the artifacts
	IsDir     bool
	SizeBytes int64 // 0 for a folder
}

const proxy = "/api/2.0/mlflow-artifacts/artifacts"

// unsupportedURI is the error for artifacts that the server does not pass on.
func unsupportedURI(uri string) error {
	scheme, _, _ := strings.Cut(uri, ":")
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "Artifacts",
		Message: fmt.Sprintf("artifacts at %s:… are not reached through this server; start it with --serve-artifacts and --artifacts-destination", scheme)}
}

// escape makes a URL path of an artifact path.
func escape(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return proxy + "/" + strings.Join(parts, "/")
}

// Artifacts lists what lies in the folder at path, without its subfolders; ""
// is the root. A folder that is not there is empty.
//
// of is a run by ID or UID, or a URI: mlflow-artifacts:/…, runs:/run/path,
// models:/name/version, models:/name@alias or models:/m-….
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts
func (c *Client) Artifacts(ctx context.Context, of, dir string) iter.Seq2[FileInfo, error] {
	return func(yield func(FileInfo, error) bool) {
		root, err := c.root(ctx, of)
		if err != nil {
			yield(FileInfo{}, err)
			return
		}
		for f, err := range c.list(ctx, root, dir) {
			if !yield(f, err) {
				return
			}
		}
	}
}

// list is Artifacts below a root of the proxy.
func (c *Client) list(ctx context.Context, root, dir string) iter.Seq2[FileInfo, error] {
	dir, perr := cleanPath(dir)
	return pages(func(string) ([]FileInfo, string, error) {
		if perr != nil {
			return nil, "", perr
		}
		out, err := transport.Do[struct {
			Files []struct {
				Path  string  `json:"path"`
				IsDir bool    `json:"is_dir"`
				Size  wireInt `json:"file_size"`
			} `json:"files"`
		}](ctx, c.t, transport.Call{Op: "Artifacts", Method: "GET", Path: proxy, Query: url.Values{"path": {path.Join(root, dir)}}, Idempotent: true})
		files := make([]FileInfo, 0, len(out.Files))
		for _, f := range out.Files {
			// The proxy tells names within the folder.
			if name, err := cleanPath(f.Path); err != nil || name == "" || strings.Contains(name, "/") {
				return nil, "", invalid("Artifacts", "the server lists a file named %q in %q", f.Path, dir)
			}
			files = append(files, FileInfo{path.Join(dir, f.Path), f.IsDir, int64(f.Size)})
		}
		return files, "", err
	})
}

// Download opens one file; the caller closes it. The file is not held in
// memory. A connection that is cut is an error of Read.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) Download(ctx context.Context, of, file string) (io.ReadCloser, error) {
	root, err := c.root(ctx, of)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, root, file)
}

func (c *Client) open(ctx context.Context, root, file string) (io.ReadCloser, error) {
	file, err := cleanPath(file)
	if err != nil {
		return nil, err
	}
	resp, err := transport.Open(ctx, c.t, transport.Call{Op: "Download", Method: "GET", Path: escape(path.Join(root, file)), Idempotent: true})
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// DownloadDir copies the folder at dir, with its subfolders, into localDir,
// which is made if need be. Nothing is written outside of it, and a file
// appears only when it is complete. The error matches [mlops.ErrNotFound] if
// there is nothing to copy.
//
// MLflow REST: GET /api/2.0/mlflow-artifacts/artifacts
func (c *Client) DownloadDir(ctx context.Context, of, dir, localDir string) error {
	from, err := c.root(ctx, of)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(localDir, 0o755); err != nil {
		return err
	}
	to, err := os.OpenRoot(localDir)
	if err != nil {
		return err
	}
	defer to.Close()
	if dir, err = cleanPath(dir); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	n := 0
	walkErr := c.walk(ctx, path.Join(from, dir), "", func(f FileInfo) error {
		n++
		g.Go(func() error { return c.save(ctx, path.Join(from, dir), f, to) })
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if walkErr == nil && n == 0 {
		return gone("DownloadDir", "there are no files at %s %s", of, dir)
	}
	return walkErr
}

// parallel is how many files are on their way at once.
const parallel = 4

// walk visits the files below a folder.
func (c *Client) walk(ctx context.Context, root, dir string, visit func(FileInfo) error) error {
	for f, err := range c.list(ctx, root, dir) {
		if err != nil {
			return err
		}
		if f.IsDir {
			err = c.walk(ctx, root, f.Path, visit)
		} else {
			err = visit(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// save copies one file into to, under its name only when it is complete.
func (c *Client) save(ctx context.Context, from string, f FileInfo, to *os.Root) error {
	name := filepath.FromSlash(f.Path)
	if err := to.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	body, err := c.open(ctx, from, f.Path)
	if err != nil {
		return err
	}
	defer body.Close()
	part := name + ".part-" + newUID()[:8]
	w, err := to.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, body)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err == nil && f.SizeBytes > 0 && n != f.SizeBytes {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = to.Rename(part, name)
	}
	if err != nil {
		_ = to.Remove(part)
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// UploadFile stores a local file at artifactPath; what is there is replaced.
// The file is not held in memory, and it must not change meanwhile.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) UploadFile(ctx context.Context, to, localPath, artifactPath string) error {
	root, err := c.root(ctx, to)
	if err != nil {
		return err
	}
	return c.putFile(ctx, root, localPath, artifactPath)
}

// UploadBytes stores b at artifactPath; what is there is replaced.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) UploadBytes(ctx context.Context, to string, b []byte, artifactPath string) error {
	root, err := c.root(ctx, to)
	if err != nil {
		return err
	}
	return c.putBytes(ctx, root, b, artifactPath)
}

// UploadDir stores the files below a local folder, with their folders, in
// artifactDir.
//
// MLflow REST: PUT /api/2.0/mlflow-artifacts/artifacts/{path}
func (c *Client) UploadDir(ctx context.Context, to, localDir, artifactDir string) error {
	root, err := c.root(ctx, to)
	if err != nil {
		return err
	}
	return c.putDir(ctx, root, localDir, artifactDir)
}

func (c *Client) putFile(ctx context.Context, root, localPath, artifactPath string) error {
	info, err := os.Stat(localPath)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return invalid("UploadFile", "%s is not a file", localPath)
	}
	return c.put(ctx, root, artifactPath, &transport.Stream{
		Open: func() (io.ReadCloser, error) { return os.Open(localPath) }, Size: info.Size(), ContentType: "application/octet-stream"})
}

func (c *Client) putBytes(ctx context.Context, root string, b []byte, artifactPath string) error {
	return c.put(ctx, root, artifactPath, &transport.Stream{
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }, Size: int64(len(b)), ContentType: "application/octet-stream"})
}

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
	}
	return p, nil
}

func (c *Client) put(ctx context.Context, root, artifactPath string, body *transport.Stream) error {
	p, err := uploadPath(artifactPath)
	if err != nil {
		return err
	}
	_, err = transport.Do[transport.None](ctx, c.t, transport.Call{Op: "Upload", Method: "PUT", Path: escape(path.Join(root, p)), Raw: body, Idempotent: true})
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	return nil
}

func (c *Client) putDir(ctx context.Context, root, localDir, artifactDir string) error {
	files, err := localFiles(localDir)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, f := range files {
		g.Go(func() error {
			return c.putFile(ctx, root, filepath.Join(localDir, filepath.FromSlash(f)), path.Join(artifactDir, f))
		})
	}
	return g.Wait()
}

// localFiles lists the files below dir, with slashes. A link to a file counts
// as the file; links to folders and other things are refused.
func localFiles(dir string) ([]string, error) {
	var out []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		local := filepath.Join(dir, filepath.FromSlash(p))
		info, err := os.Stat(local)
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
