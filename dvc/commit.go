package dvc

import (
	"context"
	"fmt"
	"slices"

	"github.com/mlops-integration/mlops"
)

// CommitOptions are options of [Repo.Commit].
type CommitOptions struct {
	Targets  []string // data or .dvc files; none means all
	Scope    Scope    // of the workspace alone
	NoRelink bool     // as in [AddOptions]
	Force    bool     // record what changed; without it a change is an error that names it
}

// Commit records the workspace's content of tracked data that has changed, in
// the cache and in the .dvc files, as dvc commit does.
//
// The error matches [mlops.ErrConflict] without Force if something changed,
// [mlops.ErrNotFound] if data is not in the workspace, and
// [mlops.ErrUnsupported] for outputs of stages: dvc.lock is dvc's to write.
func (r *Repo) Commit(ctx context.Context, o CommitOptions) ([]Output, error) {
	s, err := r.Status(ctx, StatusOptions{Targets: o.Targets, Scope: o.Scope, NoUpdates: true})
	if err != nil {
		return nil, err
	}
	look, err := r.look()
	if err == nil {
		err = look.read(ctx)
	}
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, c := range s.Changes {
		if c.State == ChangeChecksum || c.State == ChangeAlways {
			continue // update writes it
		}
		rel, err := r.rel(c.Path)
		if err != nil {
			return nil, err
		}
		o := look.ix.outs[rel]
		if o == nil {
			return nil, fail(mlops.ErrConflict, "%s is not tracked any more: another program changed it; run it again", c.Path)
		}
		switch f := o.File; {
		case c.State == ChangeDeleted:
			return nil, fail(mlops.ErrNotFound, "%s is not in the workspace; run: mlopsctl dvc checkout %s", c.Path, c.Path)
		case f.Stage != "":
			return nil, fail(mlops.ErrUnsupported, "%s is an output of stage %s, and dvc.lock is written by dvc; run: dvc commit", c.Path, c.DVCFile)
		case f.Deps:
			return nil, fail(mlops.ErrConflict, "%s is imported by %s; use: dvc update", c.Path, c.DVCFile)
		}
		paths = append(paths, c.Path)
	}
	if len(paths) == 0 {
		return nil, nil
	}
	if !o.Force {
		more := ""
		if len(paths) > 1 {
			more = fmt.Sprintf(" and %d more", len(paths)-1)
		}
		return nil, fail(mlops.ErrConflict, "%s%s changed; use force to record it (-f), or checkout to take it back", paths[0], more)
	}
	return r.Add(ctx, slices.Compact(paths), AddOptions{NoRelink: o.NoRelink, unstaged: true})
}
