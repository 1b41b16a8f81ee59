package rayserve

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/transport"
)

//go:embed python/mlops_serve/*.py
var python embed.FS

// pack writes every file of fsys, which for a folder is that of an [os.Root],
// into a zip whose bytes depend on nothing but names and contents: sorted,
// stored, without times. Its name follows from them, so that equal code is
// uploaded once. A link, a device or a pipe is refused: replicas of others
// would read what it leads to.
func pack(fsys fs.FS) (name string, data []byte, err error) {
	var files []string
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case d.Type()&fs.ModeSymlink != 0:
			return invalid("pack", "%s is a link; put the file that it leads to in its place", p)
		case !d.Type().IsRegular():
			return invalid("pack", "%s is neither a file nor a folder", p)
		}
		files = append(files, p)
		return nil
	})
	if err != nil {
		return "", nil, err
	}
	slices.Sort(files)
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, f := range files {
		b, err := fs.ReadFile(fsys, f)
		if err != nil {
			return "", nil, err
		}
		h := &zip.FileHeader{Name: f, Method: zip.Store}
		h.SetMode(0o644)
		out, err := w.CreateHeader(h)
		if err != nil {
			return "", nil, err
		}
		if _, err := out.Write(b); err != nil {
			return "", nil, err
		}
	}
	if err := w.Close(); err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256(buf.Bytes())
	return "_ray_pkg_" + hex.EncodeToString(sum[:16]) + ".zip", buf.Bytes(), nil
}

// builder is the package of the embedded Python side.
func builder() (name string, data []byte, err error) {
	sub, err := fs.Sub(python, "python")
	if err != nil {
		return "", nil, err
	}
	return pack(sub)
}

var packageForm = regexp.MustCompile(`^gcs://(_ray_pkg_[0-9a-f]{32}\.zip)$`)

// packageOf is the uploaded package that one of our applications runs.
func packageOf(working string) string {
	if m := packageForm.FindStringSubmatch(working); m != nil {
		return m[1]
	}
	return ""
}

// upload brings a package to the cluster unless it is there. Ray drops
// packages when nothing uses them, so this is asked each time.
//
// Ray REST: GET and PUT /api/packages/gcs/{package}
func (c *Client) upload(ctx context.Context, op, name string, data []byte) error {
	path := "/api/packages/gcs/" + name
	_, err := transport.Bytes(ctx, c.t, transport.Call{Op: op, Method: "GET", Path: path, Idempotent: true})
	if !errors.Is(err, mlops.ErrNotFound) {
		return err
	}
	_, err = transport.Do[transport.None](ctx, c.t, transport.Call{
		Op: op, Method: "PUT", Path: path, Idempotent: true,
		Raw: &transport.Stream{
			Open:        func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
			Size:        int64(len(data)),
			ContentType: "application/octet-stream",
		},
	})
	return err
}

// keepPackage writes a package into the state folder, from where Reapply
// uploads it again.
func (c *Client) keepPackage(name string, data []byte) error {
	dir := filepath.Join(c.opt.StateDir, "packages")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, name)
	if b, err := os.ReadFile(file); err == nil && bytes.Equal(b, data) {
		return nil
	}
	return atomicfile.Write(file, data, 0o600)
}

// sweepPackages removes kept packages that no kept application has run for a
// day: a deployment that fails goes back to the one before.
func (c *Client) sweepPackages(k keptApps) {
	used := k.packages()
	dir := filepath.Join(c.opt.StateDir, "packages")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), "_ray_pkg_") && !slices.Contains(used, e.Name()) && time.Since(info.ModTime()) > 24*time.Hour {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				c.opt.Logger.Debug("remove package", "service", service, "file", e.Name(), "error", err)
			}
		}
	}
}
