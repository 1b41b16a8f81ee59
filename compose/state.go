package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops"
)

// stateVersion is the form of home/run/state.json.
const stateVersion = 1

// state is what the supervisor remembers across its own death: which services
// are wanted, which processes are theirs, and which ports they got. Ports are
// kept when the stack stops.
type state struct {
	Version  int                `json:"version"`
	Home     string             `json:"home,omitempty"` // whose state this is
	Boot     string             `json:"boot"`           // process numbers of another boot mean nothing
	Light    bool               `json:"light"`
	Ports    map[string]int     `json:"ports"` // by "service/name"
	Services map[string]*record `json:"services"`
	Optional []string           `json:"optional,omitempty"` // services that belong to this stack because they were started by name
}

// record is one wanted service.
type record struct {
	Main     proc      `json:"main"`
	Seen     []proc    `json:"seen,omitempty"` // processes that were found to belong to it
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`

	Relied map[string]int `json:"relied,omitempty"` // the ports, of any service, that it was started with
}

func statePath(home string) string { return filepath.Join(home, "run", "state.json") }

// readState returns what the last supervisor wrote. Processes of another boot
// are forgotten, and those of another home, of which this one is a copy. A file
// that cannot be read or that is not ours counts as none: it would be wrong to
// signal anybody on its word.
func readState(home string) (state, error) {
	empty := state{Version: stateVersion, Home: home, Boot: bootID(), Ports: map[string]int{}, Services: map[string]*record{}}
	b, err := os.ReadFile(statePath(home))
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return empty, err
	}
	info, err := os.Stat(statePath(home))
	if err != nil || !ownedByUs(info) {
		return empty, nil
	}
	s, err := decodeState(b)
	if err != nil {
		return empty, nil
	}
	if s.Ports == nil {
		s.Ports = map[string]int{}
	}
	if s.Boot != empty.Boot || s.Services == nil || s.copied(home) {
		s.Services = map[string]*record{}
	}
	for name, r := range s.Services {
		if r == nil {
			delete(s.Services, name)
		}
	}
	s.Home, s.Boot = home, empty.Boot
	return s, nil
}

// copied reports whether the state is of another home that is still there.
func (s state) copied(home string) bool {
	if s.Home == "" || sameFolder(s.Home, home) {
		return false
	}
	_, err := os.Stat(statePath(s.Home))
	return err == nil
}

// decodeState reads the form that we write, and no other.
func decodeState(b []byte) (state, error) {
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return s, err
	}
	if s.Version != stateVersion {
		return s, fmt.Errorf("it is of version %d, not %d", s.Version, stateVersion)
	}
	return s, nil
}

func (s state) write(home string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(statePath(home), append(b, '\n'))
}

// replaceFile writes a file of mode 0600 whole or not at all.
func replaceFile(path string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// lock is the right to run the services of a home.
type lock struct{ f *os.File }

func lockPath(home string) string { return filepath.Join(home, "run", "supervisor.lock") }

// takeLock takes the lock of a home, or fails with [mlops.ErrConflict] if
// another process has it.
func takeLock(home string) (*lock, error) {
	f, err := lockedFile(lockPath(home))
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Message: "another process runs the stack of " + home}
	case err != nil:
		return nil, err
	}
	return &lock{f}, nil
}

// lockedFile makes and locks a file that its owner removes before he gives it
// back. The error matches EWOULDBLOCK if another process has it.
func lockedFile(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// The last owner may have removed the file between our open and lock.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close()
	}
}

// release removes the lock's file and gives the lock back.
func (l *lock) release() {
	_ = os.Remove(l.f.Name())
	_ = l.f.Close()
}

// held reports whether a process has the lock of a home.
func held(home string) bool {
	f, err := os.Open(lockPath(home))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// makeHome makes the folders that the core needs.
func makeHome(home string) error {
	for _, dir := range []string{home, filepath.Join(home, "run"), filepath.Join(home, "logs"), filepath.Join(home, "data"), filepath.Join(home, "data", "home")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}
