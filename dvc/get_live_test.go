package dvc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

func TestLiveGetBringsWhatDVCBrings(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	src := w.registry()
	theirs, ours := w.dir(), w.dir()
	for _, dir := range []string{theirs, ours} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "into"), 0o755))
	}
	for _, c := range []struct {
		path string
		o    dvc.GetOptions
		kind error // of our refusal; dvc fails as well
	}{
		{"one.csv", dvc.GetOptions{}, nil},
		{"one.csv", dvc.GetOptions{}, mlops.ErrAlreadyExists},
		{"one.csv", dvc.GetOptions{Out: "old.csv", Rev: "v1"}, nil},
		{"one.csv", dvc.GetOptions{Out: "old.csv", Force: true}, nil},
		{"one.csv", dvc.GetOptions{Out: "into"}, nil},
		{"data", dvc.GetOptions{}, nil},
		{"data", dvc.GetOptions{Out: "named", Rev: "v1"}, nil},
		{"data/sub", dvc.GetOptions{}, nil},
		{"data/sub/b", dvc.GetOptions{Out: "b é"}, nil},
		{"plain.txt", dvc.GetOptions{}, nil},
		{"gd", dvc.GetOptions{}, nil},
		{"nothing", dvc.GetOptions{}, mlops.ErrNotFound},
		{"one.csv", dvc.GetOptions{Out: "q", Rev: "nope"}, mlops.ErrNotFound},
		{"one.csv.dvc", dvc.GetOptions{}, mlops.ErrInvalid},
	} {
		args := []string{"get", "-q", src, c.path}
		if c.o.Out != "" {
			args = append(args, "--out", c.o.Out)
		}
		if c.o.Rev != "" {
			args = append(args, "--rev", c.o.Rev)
		}
		if c.o.Force {
			args = append(args, "--force")
		}
		_, failed := w.try(theirs, args...)
		c.o.Dir = ours
		_, err := dvc.Get(bg(t), src, c.path, c.o)
		if c.kind != nil {
			require.Error(t, failed, "%v", args)
			require.ErrorIs(t, err, c.kind, "%v", args)
		} else {
			require.NoError(t, failed)
			require.NoError(t, err)
		}
		sameTracked(t, theirs, ours, strings.Join(args, " "))
	}
}
