package mlflow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

const (
	maxBlob = 256 << 10 // a larger artifact lies beside the journal, not in it
	maxKept = 256 << 20 // a larger one is not copied: it goes to the server at once
)

// LogArtifact logs a local file into artifactDir, "" for the root, under its
// own name. A file of up to 256 MiB is copied to the journal, so that it may
// change afterwards; LogArtifact returns when that is done. A larger one is
// uploaded at once: LogArtifact returns when the server has it, and a server
// that is away is an error.
func (r *Run) LogArtifact(ctx context.Context, localPath, artifactDir string) error {
	return r.logFile(ctx, localPath, path.Join(artifactDir, filepath.Base(localPath)))
}

func (r *Run) logFile(ctx context.Context, localPath, artifactPath string) error {
	info, err := os.Stat(localPath)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return invalid("LogArtifact", "%s is not a file", localPath)
	}
	if info.Size() > maxKept {
		root, err := r.own(ctx)
		if err != nil {
			return err
		}
		return r.c.art.putFile(ctx, root, localPath, artifactPath)
	}
	f, err := os.Open(localPath)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.logReader(ctx, f, info.Size(), artifactPath)
}

// logInside is logFile for a file of a folder, and none that a link leads to
// outside.
func (r *Run) logInside(ctx context.Context, dir, name, artifactPath string) error {
	f, err := openInside(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() <= maxKept {
		return r.logReader(ctx, f, info.Size(), artifactPath)
	}
	root, err := r.own(ctx)
	if err != nil {
		return err
	}
	_, err = r.c.art.sendFile(ctx, root, f, artifactPath)
	return err
}

// LogDir logs the files below a local folder into artifactDir, "" for the
// root. Each is logged as by LogArtifact.
func (r *Run) LogDir(ctx context.Context, localDir, artifactDir string) error {
	files, err := localFiles(localDir)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := r.logInside(ctx, localDir, f, path.Join(artifactDir, f)); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
	}
	return nil
}

// LogFS logs the files of fsys into artifactDir, "" for the root. Each is
// copied to the journal, whatever its size.
func (r *Run) LogFS(ctx context.Context, fsys fs.FS, artifactDir string) error {
	if fsys == nil {
		return invalid("LogFS", "no file system is given")
	}
	return fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := fsys.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return invalid("LogFS", "%s is neither a file nor a folder", p)
		}
		return r.logReader(ctx, f, info.Size(), path.Join(artifactDir, p))
	})
}

// LogText logs a text as an artifact.
func (r *Run) LogText(ctx context.Context, text, artifactPath string) error {
	return r.logBytes(ctx, []byte(text), artifactPath)
}

// LogJSON logs v as an indented JSON artifact.
func (r *Run) LogJSON(ctx context.Context, v any, artifactPath string) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", artifactPath, err)
	}
	return r.logBytes(ctx, append(b, '\n'), artifactPath)
}

func (r *Run) logBytes(ctx context.Context, b []byte, artifactPath string) error {
	return r.logReader(ctx, bytes.NewReader(b), int64(len(b)), artifactPath)
}

// logReader takes an artifact into the journal, a small one as a record, a
// larger one as a file beside it. Where the journal has no place for it, it
// goes to the server at once.
func (r *Run) logReader(ctx context.Context, in io.Reader, size int64, artifactPath string) error {
	const op = "LogArtifact"
	p, err := uploadPath(artifactPath)
	if err != nil {
		return err
	}
	if size <= maxBlob {
		b, err := io.ReadAll(io.LimitReader(in, maxBlob+1))
		if err != nil {
			return err
		}
		if len(b) <= maxBlob {
			return r.s.add(op, record{kind: blobRecord, key: p, blob: b})
		}
		in = io.MultiReader(bytes.NewReader(b), in) // it grew meanwhile
	}
	name, err := r.s.j.AttachFile(in)
	if err == nil {
		return r.s.add(op, record{kind: fileRecord, key: p, text: name})
	}
	seek, ok := in.(io.Seeker)
	if !errors.Is(err, mlops.ErrUnavailable) || !ok {
		return err
	}
	if _, err := seek.Seek(0, io.SeekStart); err != nil {
		return err
	}
	b, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	root, err := r.own(ctx)
	if err != nil {
		return err
	}
	return r.c.art.putBytes(ctx, root, b, p)
}

// own is the run's folder behind the proxy.
func (r *Run) own(ctx context.Context) (string, error) {
	at, err := r.place(ctx)
	if err != nil {
		return "", err
	}
	return r.c.art.root(ctx, at.root)
}

// upload uploads artifacts, side by side. All or none counts as sent:
// uploading one again replaces it by itself.
func (w runWriter) upload(ctx context.Context, j *spool.Journal, rs []record, reject func(record, error)) error {
	root, err := w.c.art.root(ctx, w.at.root)
	if unfit(err) { // nothing stores artifacts of this run
		for _, r := range rs {
			reject(r, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	errs := make([]error, len(rs))
	var failed error // of one; the others are uploaded all the same
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, r := range rs {
		g.Go(func() error {
			var err error
			if r.kind == blobRecord {
				err = w.c.art.putBytes(gctx, root, r.blob, r.key)
			} else {
				err = w.c.art.putFile(gctx, root, filepath.Join(j.Path(), filepath.FromSlash(r.text)), r.key)
			}
			if unfit(err) {
				errs[i] = err
				return nil
			}
			if err != nil && !undelivered(err) && gctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
				return nil
			}
			return err
		})
	}
	if err := cmp.Or(g.Wait(), failed); err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil {
			reject(rs[i], err)
		}
	}
	return nil
}

// unfit reports whether an artifact can never be stored as it is.
func unfit(err error) bool {
	return hopeless(err) || errors.Is(err, mlops.ErrInvalid) || errors.Is(err, mlops.ErrUnsupported) || errors.Is(err, fs.ErrNotExist)
}
