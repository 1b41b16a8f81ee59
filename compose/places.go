package compose

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/trust"
)

// Places lists the folders that belong to the stack's home: the home itself, and
// what lies outside of it because another user or a short path needs it there.
// Containers and their volumes are the engine's, under the name of the
// home. It changes nothing.
func (s *Stack) Places() []string {
	out := []string{s.home}
	add := func(dir string) {
		if _, err := os.Stat(dir); err == nil && dir != "" && !inside(dir, s.home) {
			out = append(out, dir)
		}
	}
	if root, err := postgresRoot(s.home); err == nil {
		if d := databasesOf(s.home, root); d.deed.ID == "" || d.deed.ID == d.own.ID {
			add(root)
		}
	}
	add(rayFolder(s.home))
	if p, err := socketPath(s.home); err == nil && filepath.Base(p) == "s" {
		add(filepath.Dir(p))
	}
	if !isTwin(s.home) {
		for _, name := range installed { // on a larger disk
			if real, err := filepath.EvalSymlinks(filepath.Join(s.home, name)); err == nil {
				add(real)
			}
		}
	}
	return out
}

// quoted is paths as words of a shell command.
func quoted(paths ...string) string {
	words := make([]string, len(paths))
	for i, p := range paths {
		words[i] = trust.Quote(p)
	}
	return strings.Join(words, " ")
}

// systemUserLeft says what becomes of the system user, which all homes share.
func systemUserLeft() string {
	if _, _, ok := lookupUser(postgresSystemUser); !ok || os.Geteuid() != 0 {
		return ""
	}
	if left, _ := filepath.Glob(filepath.Join(sharedFolder, "*")); len(left) > 1 {
		return ""
	}
	return "; and, without another home: userdel " + postgresSystemUser
}

// sizes are what the environments take on disk, in MB, as measured after a setup.
var sizes = map[string]uint64{
	"mlflow": 840, "airflow": 300, "ray": 830, "evidently": 990, "train": 380, "dvc": 210, "mlflow2": 830,
}

// room returns an error if the environments do not fit on the disk. Half an
// environment that is out of space costs minutes before it says so.
func (in *installer) room(ctx context.Context, names []string) error {
	if err := os.MkdirAll(in.home, 0o700); err != nil {
		return err
	}
	u, err := disk.UsageWithContext(ctx, in.home)
	if err != nil {
		return nil // a system that does not say is tried
	}
	return roomFor(in.home, names, u.Free)
}

func roomFor(home string, names []string, free uint64) error {
	var need uint64
	for _, name := range names {
		need += sizes[name] * 1e6
	}
	if free >= need {
		return nil
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "compose", Op: "setup",
		Message: fmt.Sprintf("%s take %.1f GB, and %s has %.1f GB free; make room, or choose a larger disk: MLOPS_HOME=/a/larger/disk mlopsctl setup", strings.Join(names, ", "), float64(need)/1e9, home, float64(free)/1e9)}
}
