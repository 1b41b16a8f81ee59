package dvc

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/known"
)

// walker lists the files of a tracked directory, many directories at once.
type walker struct {
	*call
	rel string
	g   errgroup.Group

	mu  sync.Mutex
	out []known.Found
}

// walkData lists the files of a tracked directory as dvc does: symlinks to
// files count, symlinks to directories are passed over, ignored names too.
func (c *call) walkData(rel string) ([]known.Found, error) {
	w := &walker{call: c, rel: rel}
	w.g.SetLimit(c.jobs)
	err := w.dir("")
	if e := w.g.Wait(); err == nil {
		err = e
	}
	if err == nil {
		err = c.dvcIgnore.Err()
	}
	return w.out, err
}

// dir lists a directory and those below it, the latter beside it while there
// are workers free.
func (w *walker) dir(dir string) error {
	at := path.Join(w.rel, dir)
	d, err := os.Open(w.abs(at))
	if err != nil {
		return err
	}
	files, dirs, err := w.list(d, dir)
	_ = d.Close()
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.out = append(w.out, files...)
	w.mu.Unlock()
	for _, sub := range dirs {
		if w.g.TryGo(func() error { return w.dir(sub) }) {
			continue
		}
		if err := w.dir(sub); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) list(d *os.File, dir string) (files []known.Found, dirs []string, err error) {
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	at := path.Join(w.rel, dir)
	if dir != "" && slices.Contains(names, ".dvc") {
		return nil, nil, fail(mlops.ErrInvalid, "%s is a DVC repository of its own", at)
	}
	ignore := w.dvcIgnore.In(at)
	prefix := dir
	if dir != "" {
		prefix += "/"
	}
	files = make([]known.Found, 0, len(names))
	for _, name := range names {
		st, err := known.StatAt(int(d.Fd()), name, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, nil, err
		}
		link := st.Mode&fs.ModeSymlink != 0
		if link {
			st, err = known.StatAt(int(d.Fd()), name, true)
		}
		if ignored, _ := ignore.Decide(at+"/"+name, err == nil && st.Mode.IsDir()); ignored {
			continue
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, fail(mlops.ErrNotFound, "%s/%s is a symlink to nothing", at, name)
		case err != nil:
			return nil, nil, err
		case !st.Mode.IsDir():
			files = append(files, known.Found{Path: prefix + name, Link: link, Stamp: st})
		case !link:
			dirs = append(dirs, prefix+name)
		}
	}
	return files, dirs, nil
}
