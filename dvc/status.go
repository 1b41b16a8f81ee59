package dvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// ChangeState is how data differs, in dvc's words.
type ChangeState string

// The states of data.
const (
	ChangeModified   ChangeState = "modified"     // workspace differs from the .dvc file, or there is no hash yet
	ChangeDeleted    ChangeState = "deleted"      // not in the workspace; with Cloud: in the remote, not in the cache
	ChangeNew        ChangeState = "new"          // with Cloud: in the cache, not in the remote
	ChangeNotInCache ChangeState = "not in cache" // the cache lacks the data, or a part of it
	ChangeMissing    ChangeState = "missing"      // with Cloud: neither in the cache nor in the remote

	ChangeUpdateAvailable ChangeState = "update available" // the repository that it was imported from has gone on
	ChangeChecksum        ChangeState = "changed checksum" // the file of an import was edited, or never completed
	ChangeAlways          ChangeState = "always changed"   // the file or stage says so, or the stage has neither dependencies nor outputs
)

// Change is tracked data that is not as its .dvc file or dvc.lock says.
type Change struct {
	DVCFile string // or stage: x.dvc, train, sub/dvc.yaml:train; "" with Cloud
	Path    string // "" with ChangedChecksum and AlwaysChanged; with UpdateAvailable what is imported, and from where
	State   ChangeState
}

// Status lists what is not in its due state. It marshals to the JSON that
// dvc status --json prints.
type Status struct {
	Changes []Change
	Cloud   bool // compares the cache with a remote, not with the workspace
}

// Clean reports whether nothing has changed.
func (s Status) Clean() bool { return len(s.Changes) == 0 }

// MarshalJSON writes {"x.dvc": [{"changed outs": {"x": "modified"}}]}, or with
// Cloud {"x": "new"}.
func (s Status) MarshalJSON() ([]byte, error) {
	if s.Cloud {
		out := map[string]ChangeState{}
		for _, c := range s.Changes {
			out[c.Path] = c.State
		}
		return json.Marshal(out)
	}
	out := map[string][]any{}
	groups := map[[2]string]map[string]ChangeState{}
	for _, c := range s.Changes {
		group := "changed outs"
		switch c.State {
		case ChangeChecksum, ChangeAlways:
			out[c.DVCFile] = append(out[c.DVCFile], c.State)
			continue
		case ChangeUpdateAvailable:
			group = "changed deps"
		}
		at := [2]string{c.DVCFile, group}
		if groups[at] == nil {
			groups[at] = map[string]ChangeState{}
			out[c.DVCFile] = append(out[c.DVCFile], map[string]map[string]ChangeState{group: groups[at]})
		}
		groups[at][c.Path] = c.State
	}
	return json.Marshal(out)
}

// StatusOptions are options of [Repo.Status].
type StatusOptions struct {
	Cloud   bool     // compare the cache with the remote
	Remote  string   // name; implies Cloud, as in dvc. "" is the default remote
	Targets []string // data or .dvc files; none means all
	Scope   Scope    // what else; data of other commits is only compared with a remote
	Jobs    int      // requests at once; 0 is the remote's

	// NoUpdates does not ask the repositories that data was imported from
	// whether they have gone on.
	NoUpdates bool
}

// Status compares the workspace with the .dvc files, or the cache with a
// remote. It reads the files that changed since their hash was last taken, by us
// or by dvc; a change that keeps size and mtime is seen by its ctime. Of
// repositories that data was imported from it asks for the latest commit.
func (r *Repo) Status(ctx context.Context, o StatusOptions) (Status, error) {
	c, err := r.begin(ctx)
	if err != nil {
		return Status{}, err
	}
	defer c.end()
	cloud := o.Cloud || o.Remote != ""
	if o.Scope.revisions() && !cloud {
		return Status{}, fail(mlops.ErrInvalid, "status: other commits are only compared with a remote (cloud)")
	}
	outs, more, err := c.choose(ctx, o.Targets, o.Scope, false)
	if err != nil {
		return Status{}, err
	}
	if cloud {
		return c.cloudStatus(ctx, append(outs, more...), o)
	}
	var s Status
	var always []*dvcfile.File
	if len(o.Targets) == 0 {
		always = c.ix.files // one without outputs may be among them
	}
	latest := map[dvcfile.GitSource]string{}
	// dvc tells the state of the whole output to whom names parts of it.
	for _, out := range slices.CompactFunc(outs, func(a, b *dvcfile.Out) bool { return a.Path == b.Path && a.File == b.File }) {
		f := out.File
		if d := f.Imports; d != nil && d.Repo != nil && !o.NoUpdates {
			moved, err := c.movedOn(ctx, d.Repo, latest)
			if err != nil {
				return Status{}, fmt.Errorf("dvc: %s: %w", r.show(f.Rel), err)
			}
			if moved {
				s.Changes = append(s.Changes, Change{f.At(r.show), d.String(), ChangeUpdateAvailable})
			}
		}
		state, err := c.stateOf(ctx, out)
		if err != nil {
			return Status{}, err
		}
		if state != "" {
			s.Changes = append(s.Changes, Change{f.At(r.show), r.show(out.Path), state})
		}
		if f.Imports != nil && f.Sum != f.StageSum() {
			if f.Always {
				s.Changes = append(s.Changes, Change{DVCFile: f.At(r.show), State: ChangeAlways})
			}
			s.Changes = append(s.Changes, Change{DVCFile: f.At(r.show), State: ChangeChecksum})
		} else if len(o.Targets) > 0 && !slices.Contains(always, f) {
			always = append(always, f)
		}
	}
	for _, f := range always {
		if f.Always && (f.Imports == nil || f.Sum == f.StageSum()) {
			s.Changes = append(s.Changes, Change{DVCFile: f.At(r.show), State: ChangeAlways})
		}
	}
	return s, nil
}

// movedOn reports whether a repository has a later commit than an import is of.
// What was asked before is in latest.
func (c *call) movedOn(ctx context.Context, g *dvcfile.GitSource, latest map[dvcfile.GitSource]string) (bool, error) {
	if g.Lock == "" {
		return false, nil
	}
	at := dvcfile.GitSource{URL: g.URL, Rev: g.Rev}
	if latest[at] == "" {
		commit, err := c.latest(ctx, g)
		if err != nil {
			return false, err
		}
		latest[at] = commit
	}
	return latest[at] != g.Lock, nil
}

func (c *call) stateOf(ctx context.Context, o *dvcfile.Out) (ChangeState, error) {
	if o.ID != "" && o.Cache {
		ok, err := c.cache.Has(ctx, o.ID, -1)
		if err != nil {
			return "", err
		}
		if ok && o.ID.IsDir() {
			t, err := c.cache.Listing(o.ID)
			if err != nil {
				return "", err
			}
			if ok, err = c.hasAll(ctx, t); err != nil {
				return "", err
			}
		}
		if !ok {
			return ChangeNotInCache, nil
		}
	}
	have, isDir, exists, err := c.scan(ctx, o.Path, o.Legacy)
	switch {
	case err != nil:
		return "", err
	case !exists:
		return ChangeDeleted, nil
	}
	now := have[""].oid
	if isDir {
		var t object.Listing
		for p, f := range have {
			t = append(t, object.Entry{Path: p, ID: f.oid})
		}
		t.Sort()
		_, now = t.Hash()
	}
	if now.As(o.Legacy) != o.ID {
		return ChangeModified, nil
	}
	return "", nil
}

// hasAll reports whether the cache holds all that a directory lists.
func (c *call) hasAll(ctx context.Context, t object.Listing) (bool, error) {
	err := c.parallel(ctx, len(t), func(ctx context.Context, i int) error {
		ok, err := c.cache.Has(ctx, t[i].ID, -1)
		if err == nil && !ok {
			err = ErrNotCached
		}
		return err
	})
	if errors.Is(err, ErrNotCached) {
		return false, nil
	}
	return err == nil, err
}

func (c *call) cloudStatus(ctx context.Context, outs []*dvcfile.Out, o StatusOptions) (Status, error) {
	s := Status{Cloud: true}
	outs = slices.DeleteFunc(outs, func(o *dvcfile.Out) bool { return !o.Push || !o.Cache || o.ID == "" || o.File.RepoDeps })
	stores, err := c.open(ctx, &mover{jobs: o.Jobs}, o.Remote, outs)
	if err != nil {
		return s, err
	}
	byStore := map[*place][]need{}
	for _, o := range outs {
		ns := []need{{oid: o.ID, out: o.Path}}
		if o.ID.IsDir() {
			t, err := c.cache.Listing(o.ID)
			if err != nil && !errors.Is(err, ErrNotCached) {
				return s, err
			}
			for _, e := range t.Below(o.Part) {
				ns = append(ns, need{e.ID, o.Path, e.Path})
			}
		}
		byStore[stores[o]] = append(byStore[stores[o]], ns...)
	}
	for _, store := range byName(byStore) {
		ns := unique(byStore[store])
		gone, err := absent(ctx, store, ns)
		if err != nil {
			return s, err
		}
		far := map[object.ID]bool{}
		for _, n := range gone {
			far[n.oid] = true
		}
		for _, n := range ns {
			near, err := c.cache.Has(ctx, n.oid, -1)
			if err != nil {
				return s, err
			}
			var state ChangeState
			switch {
			case near && far[n.oid]:
				state = ChangeNew
			case !near && far[n.oid]:
				state = ChangeMissing
			case !near:
				state = ChangeDeleted
			}
			if state != "" {
				s.Changes = append(s.Changes, Change{"", c.show(n.path()), state})
			}
		}
	}
	slices.SortFunc(s.Changes, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return s, nil
}
