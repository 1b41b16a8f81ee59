package compose

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/mlops-integration/mlops"
)

// installed are the folders of a home that Setup fills.
var installed = []string{"venvs", "uv", "tools"}

// Twin returns a stack in another home, which is made if it is not there. It
// runs what Setup has installed for s, or the images that s would run, and
// shares nothing else: it has data, secrets, ports and a supervisor or
// containers of its own; those of PostgreSQL are reached from this machine, too.
// [Stack.Destroy] deletes it whole.
//
// The error matches [mlops.ErrAlreadyExists] if home is that of a stack with
// installations of its own.
func (s *Stack) Twin(home string) (*Stack, error) {
	t := *s
	var err error
	if t.home, err = filepath.Abs(home); err != nil {
		return nil, err
	}
	of, err := os.ReadFile(twinNote(t.home))
	if err == nil && string(of) == s.home {
		return &t, nil
	}
	if left, _ := os.ReadDir(t.home); err == nil || len(left) > 0 {
		return nil, &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: "compose", Message: t.home + " is the home of another stack"}
	}
	for _, name := range installed {
		if err := os.MkdirAll(filepath.Join(s.home, name), 0o700); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(t.home, 0o700); err != nil {
			return nil, err
		}
		if err := os.Symlink(filepath.Join(s.home, name), filepath.Join(t.home, name)); err != nil {
			return nil, err
		}
	}
	if err := makeHome(t.home); err != nil {
		return nil, err
	}
	if err := os.WriteFile(twinNote(t.home), []byte(s.home), 0o600); err != nil {
		return nil, err
	}
	r, err := t.carrier()
	if err != nil {
		return nil, err
	}
	return &t, r.link(s.home)
}

// link notes that the twin runs in containers: images belong to no home.
func (d *docker) link(string) error {
	r := dockerRecord{Runtime: DockerRuntime, Engine: d.record.Engine}
	return r.write(d.home)
}

// link lets a twin use the programs of PostgreSQL that were fetched for its
// original.
func (s processes) link(original string) error {
	from, err := postgresRoot(original)
	if err != nil {
		return err
	}
	if _, err := os.Stat(fetchedFolder(from)); err != nil {
		return nil // the machine's own are used
	}
	p, err := postgresPlace(s.home)
	if err != nil {
		return err
	}
	if err := os.Symlink(fetchedFolder(from), fetchedFolder(p.root)); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// twinNote holds the home of whose stack a stack is the twin.
func twinNote(home string) string { return filepath.Join(home, "twin-of") }

func isTwin(home string) bool {
	_, err := os.Stat(twinNote(home))
	return err == nil
}

// original is the home whose Setup installs what this stack runs.
func (s *base) original() string {
	if of, err := os.ReadFile(twinNote(s.home)); err == nil {
		return string(of)
	}
	return s.home
}

// discard ends what runs of a twin and deletes what it has, also outside of its home.
func (s *base) discard(stop func() error) error {
	if err := stop(); err != nil {
		return err
	}
	root, err := postgresRoot(s.home)
	if err != nil {
		return err
	}
	if d := databasesOf(s.home, root); d.deed.ID != "" && d.deed.ID != d.own.ID {
		return conflict("the databases in %s are of %s, not of %s; nothing was deleted", root, d.deed.Home, s.home)
	}
	if p, err := socketPath(s.home); err == nil && filepath.Base(p) == "s" { // of a supervisor that was killed
		_ = os.RemoveAll(filepath.Dir(p))
	}
	return errors.Join(os.RemoveAll(root), os.RemoveAll(rayFolder(s.home)), os.RemoveAll(s.home))
}
