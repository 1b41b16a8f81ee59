package client

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
	_ "github.com/mlops-integration/mlops/dvc/remote/local" // the remote of a local stack
	_ "github.com/mlops-integration/mlops/dvc/remote/s3"
)

// remoteName is the DVC remote that the project's registration adds.
const remoteName = "mlops"

// Data is the project's DVC repository. Its methods open the repository that
// holds the project's folder at their first use and give it the project's
// remote, in .dvc/config.local, if it has no default remote of its own.
type Data struct {
	dir     string
	remote  string            // the project's; empty: the repository's own configuration says it all
	options map[string]string // of the remote, beside its URL
	repo    once[*dvc.Repo]
}

// DataIn is the DVC repository around dir, for work without a
// project: only the repository's own remotes are used. It reads nothing yet.
func DataIn(dir string) (*Data, error) {
	abs, err := filepath.Abs(dir)
	return &Data{dir: abs}, err
}

// Repo is the repository itself. The error matches [mlops.ErrNotFound] if the
// project's folder is in none.
func (d *Data) Repo(ctx context.Context) (*dvc.Repo, error) { return d.open(ctx) }

// Init makes the project's folder a DVC repository, as "dvc init" does, and
// gives it the project's remote. It has to be within a git repository unless
// [dvc.NoSCM] is given; a project may lie in a folder of one.
func (d *Data) Init(ctx context.Context, opts ...dvc.Option) error {
	if d.remote != "" {
		opts = append(opts, dvc.Subdir())
	}
	if _, err := dvc.Init(d.dir, opts...); err != nil {
		return err
	}
	_, err := d.open(ctx)
	return err
}

// Add tracks files or directories, as "dvc add" does, byte for byte. Relative
// paths start at the project's folder.
func (d *Data) Add(ctx context.Context, paths ...string) ([]dvc.Output, error) {
	r, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	return r.Add(ctx, d.abs(paths), dvc.AddOptions{})
}

// Push uploads what the remote does not have.
func (d *Data) Push(ctx context.Context, o dvc.PushOptions) (dvc.Transfer, error) {
	r, err := d.open(ctx)
	if err != nil {
		return dvc.Transfer{}, err
	}
	o.Targets = d.abs(o.Targets)
	return r.Push(ctx, o)
}

// Pull downloads, verifies and checks out what the .dvc files name.
func (d *Data) Pull(ctx context.Context, o dvc.PullOptions) (dvc.Transfer, error) {
	r, err := d.open(ctx)
	if err != nil {
		return dvc.Transfer{}, err
	}
	o.Targets = d.abs(o.Targets)
	return r.Pull(ctx, o)
}

// Status compares the workspace, or with o.Cloud the remote, with the .dvc files.
func (d *Data) Status(ctx context.Context, o dvc.StatusOptions) (dvc.Status, error) {
	r, err := d.open(ctx)
	if err != nil {
		return dvc.Status{}, err
	}
	return r.Status(ctx, o)
}

// Version is the content hash of a tracked path and where it is kept.
func (d *Data) Version(ctx context.Context, path string) (dvc.Version, error) {
	r, err := d.open(ctx)
	if err != nil {
		return dvc.Version{}, err
	}
	return r.Version(ctx, d.abs([]string{path})[0])
}

func (d *Data) open(ctx context.Context) (*dvc.Repo, error) {
	return d.repo.get(func() (*dvc.Repo, error) {
		r, err := dvc.Open(d.dir)
		if err != nil {
			return nil, err
		}
		return r, d.ensureRemote(ctx, r)
	})
}

// ensureRemote points the repository at the project's remote. A default remote
// that the repository's own configuration names is left alone.
func (d *Data) ensureRemote(ctx context.Context, r *dvc.Repo) error {
	if d.remote == "" {
		return nil
	}
	now, err := r.DefaultRemote()
	switch {
	case errors.Is(err, mlops.ErrNotFound):
	case err != nil:
		return err
	case now.Name != remoteName:
		return nil
	case now.URL != d.remote: // DVC refuses the options of one kind of remote with another
		if err := r.RemoveRemote(ctx, remoteName, dvc.LevelLocal); err != nil {
			return err
		}
	}
	if err != nil || now.URL != d.remote {
		if err := r.AddRemote(ctx, remoteName, d.remote, dvc.AddRemoteOptions{Default: true, Level: dvc.LevelLocal, Force: true}); err != nil {
			return err
		}
	}
	for _, option := range slices.Sorted(maps.Keys(d.options)) {
		s, err := r.Setting("remote."+remoteName+"."+option, dvc.LevelLocal)
		if err == nil && s.Value == d.options[option] {
			continue
		}
		if err := r.ModifyRemote(ctx, remoteName, option, d.options[option], dvc.LevelLocal); err != nil {
			return err
		}
	}
	return nil
}

func (d *Data) abs(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = absIn(d.dir, p)
	}
	return out
}
