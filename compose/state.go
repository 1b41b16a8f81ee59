package compose

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/lockfile"
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
	Main     proc.ID   `json:"main"`
	Seen     []proc.ID `json:"seen,omitempty"` // processes that were found to belong to it
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`

	Relied map[string]int `json:"relied,omitempty"` // the ports, of any service, that it was started with
}

func statePath(home string) string { return filepath.Join(home, "run", "state.json") }

// readState returns what the last supervisor wrote. Processes of another boot
// are forgotten, and those of another home, of which this one is a copy. A file
// that cannot be read or that is not ours counts as none: it would be wrong to
// signal a process on its word.
func readState(home string) (state, error) {
	empty := state{Version: stateVersion, Home: home, Boot: proc.BootID(), Ports: map[string]int{}, Services: map[string]*record{}}
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
	return atomicfile.Write(statePath(home), append(b, '\n'), 0o600)
}

// lock is the right to run the services of a home.
type lock struct{ f *os.File }

func lockPath(home string) string { return filepath.Join(home, "run", "supervisor.lock") }

// takeLock takes the lock of a home, or fails with [mlops.ErrConflict] if
// another process has it.
func takeLock(home string) (*lock, error) {
	f, err := lockfile.Take(lockPath(home), 0o600)
	switch {
	case errors.Is(err, lockfile.ErrHeld):
		return nil, &mlops.Error{Kind: mlops.ErrConflict, Service: "compose", Message: "another process runs the stack of " + home}
	case err != nil:
		return nil, err
	}
	return &lock{f}, nil
}

// release removes the lock's file and gives the lock back.
func (l *lock) release() {
	_ = os.Remove(l.f.Name())
	_ = l.f.Close()
}

// held reports whether a process has the lock of a home.
func held(home string) bool { return lockfile.Held(lockPath(home)) }

// makeHome makes the folders that the core needs.
func makeHome(home string) error {
	for _, dir := range []string{home, filepath.Join(home, "run"), filepath.Join(home, "logs"), filepath.Join(home, "data"), filepath.Join(home, "data", "home")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}
