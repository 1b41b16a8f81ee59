package dvc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/dvcfile"
	"github.com/mlops-integration/mlops/dvc/internal/ignore"
	"github.com/mlops-integration/mlops/dvc/internal/object"
	"github.com/mlops-integration/mlops/internal/gitcmd"
)

// history reads what the repository tracked at git revisions. Files that many
// revisions share are read once.
type history struct {
	r     *Repo
	blobs map[string][]byte // by git's name
}

func newHistory(r *Repo) *history { return &history{r: r, blobs: map[string][]byte{}} }

// commit returns the full name of the commit that rev names. The error matches
// [mlops.ErrNotFound] if there is none.
func (r *Repo) commit(ctx context.Context, rev string) (string, error) {
	if r.gitRoot == "" {
		return "", fail(mlops.ErrUnsupported, "%s is not in a git repository, so it has no revisions", r.dir)
	}
	out, err := r.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fail(mlops.ErrNotFound, "revision %s is not in git", rev)
	}
	return strings.TrimSpace(string(out)), nil
}

// index returns what the repository tracked at a revision. .dvcignore files are
// those of the revision.
func (h *history) index(ctx context.Context, rev string) (*index, error) {
	commit, err := h.r.commit(ctx, rev)
	if err != nil {
		return nil, err
	}
	listing, err := h.r.git(ctx, "ls-tree", "-r", "-z", commit)
	if err != nil {
		return nil, err
	}
	blobs := map[string]string{} // by path
	var order []string
	ignores := map[string][]byte{} // by folder
	var foreign []string           // repositories of their own
	for entry := range strings.SplitSeq(string(listing), "\x00") {
		info, rel, ok := strings.Cut(entry, "\t")
		parts := strings.Fields(info)
		if !ok || len(parts) != 3 || !strings.HasPrefix(parts[0], "100") { // no symlinks, no submodules
			continue
		}
		switch base := path.Base(rel); {
		case base == "dvc.yaml", base == "dvc.lock", base == ".dvcignore", strings.HasSuffix(base, ".dvc") && base != ".dvc":
			blobs[rel] = parts[2]
			order = append(order, rel)
		case strings.HasSuffix(rel, "/.dvc/config"):
			foreign = append(foreign, path.Dir(path.Dir(rel)))
		}
	}
	if err := h.read(ctx, blobs); err != nil {
		return nil, err
	}
	text := func(rel string) []byte { return h.blobs[blobs[rel]] }
	for _, rel := range order {
		if path.Base(rel) == ".dvcignore" {
			ignores[ignore.Parent(rel)] = text(rel)
		}
	}
	di := ignore.NewDVCAt(ignores)
	ix := &index{outs: map[string]*dvcfile.Out{}, ignore: di}
	for _, rel := range order {
		base := path.Base(rel)
		if base == ".dvcignore" || base == "dvc.lock" || di.Ignored(rel, false) || inAny(rel, foreign) {
			continue
		}
		if err := ix.parse(rel, text(rel), text(strings.TrimSuffix(rel, ".yaml")+".lock")); err != nil {
			return nil, fmt.Errorf("dvc: revision %s: %w", rev, err)
		}
	}
	return ix, nil
}

func inAny(rel string, dirs []string) bool {
	for _, d := range dirs {
		if object.Within(rel, d) {
			return true
		}
	}
	return false
}

// read fetches the blobs that are not known yet, with one process of git.
func (h *history) read(ctx context.Context, blobs map[string]string) error {
	var ask bytes.Buffer
	var names []string
	for _, name := range blobs {
		if _, known := h.blobs[name]; !known {
			h.blobs[name] = nil
			names = append(names, name)
			ask.WriteString(name + "\n")
		}
	}
	if len(names) == 0 {
		return nil
	}
	cmd := gitcmd.Command(ctx, h.r.dir, "cat-file", "--batch")
	cmd.Stdin = &ask
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		_ = out.Close()
		_ = cmd.Wait()
	}()
	in := bufio.NewReaderSize(out, 1<<16)
	for _, name := range names {
		head, err := in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("dvc: git cat-file: %w", err)
		}
		f := strings.Fields(head)
		if len(f) != 3 || f[0] != name {
			return fail(mlops.ErrInvalid, "git cat-file: %s", strings.TrimSpace(head))
		}
		size, err := strconv.Atoi(f[2])
		if err != nil || size > dvcfile.MaxSize {
			return fail(mlops.ErrInvalid, "git object %s is too large for a file of DVC", name)
		}
		text := make([]byte, size+1) // and a line end
		if _, err := io.ReadFull(in, text); err != nil {
			return fmt.Errorf("dvc: git cat-file: %w", err)
		}
		h.blobs[name] = text[:size]
	}
	return nil
}
