package compose

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mlops-integration/mlops/internal/lockfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// stamp is the metadata of a file as we left it.
type stamp struct {
	info os.FileInfo // nil: there is no such file
}

func stampOf(file string) stamp {
	info, err := os.Lstat(file)
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

// changed says what became of the file since; empty if it is as it was.
func (s stamp) changed(file string) string {
	now := stampOf(file).info
	switch {
	case s.info == nil:
		return "" // we have none there
	case now == nil:
		return "was removed"
	case !ownedByUs(now):
		return "was given to another user"
	case now.Mode() != s.info.Mode():
		return fmt.Sprintf("was opened to others (mode %04o)", now.Mode().Perm())
	case !os.SameFile(now, s.info) || now.Size() != s.info.Size() || !now.ModTime().Equal(s.info.ModTime()):
		return "was changed"
	}
	return ""
}

// mostMended is how many repairs a supervisor remembers.
const mostMended = 20

// heal puts back what the supervisor has under run/ and the stack file, where
// others changed or removed them: the next command would take the stack for
// stopped. What it did is part of the status.
func (sup *supervisor) heal() {
	s := sup.stack
	sup.healing.Lock()
	defer sup.healing.Unlock()
	if sup.healed {
		return
	}
	mend := func(file string, was stamp, again func()) {
		if how := was.changed(file); how != "" {
			sup.mended(fmt.Sprintf("%s %s; it is written again", file, how))
			again()
		}
	}
	sup.saving.Lock()
	state, published := sup.savedAs, sup.publishedAs
	sup.saving.Unlock()
	mend(statePath(s.home), state, sup.save)
	mend(stackfile.Path(s.home), published, sup.publish)
	if sup.locked != nil {
		mend(lockPath(s.home), sup.lockedAs, sup.lockAgain)
	}
	if sup.door != nil {
		sup.door.heal(sup, nil)
	}
}

// endHealing lets go of what heal would put back: the lock and the socket are
// going to be the next supervisor's.
func (sup *supervisor) endHealing() {
	sup.healing.Lock()
	defer sup.healing.Unlock()
	sup.healed = true
}

func (sup *supervisor) mended(text string) {
	sup.log.Warn("mended", "what", text)
	sup.mu.Lock()
	defer sup.mu.Unlock()
	sup.repairs = append(sup.repairs, time.Now().UTC().Format(time.RFC3339)+": "+text)
	if n := len(sup.repairs); n > mostMended {
		sup.repairs = sup.repairs[n-mostMended:]
	}
}

// lockAgain takes a lock whose file was removed or replaced.
func (sup *supervisor) lockAgain() {
	path := lockPath(sup.stack.home)
	_ = os.Chmod(path, 0o600)
	if os.Geteuid() == 0 {
		_ = os.Lchown(path, 0, os.Getegid())
	}
	if now := stampOf(path).info; now == nil || !os.SameFile(now, sup.lockedAs.info) {
		f, err := lockfile.Take(path, 0o600)
		if err != nil {
			sup.log.Error("lock", "error", err)
			return
		}
		old := sup.locked.f
		sup.locked.f = f
		_ = old.Close()
	}
	sup.lockedAs = stampOf(path)
}

// door is the socket that clients knock at.
type door struct {
	home     string
	listener net.Listener
	as       stamp
	requests chan net.Conn
	broken   chan net.Listener // that accepts no more
	over     chan struct{}     // closed when no more requests are taken
}

func openDoor(home string) (*door, error) {
	d := &door{home: home, requests: make(chan net.Conn), broken: make(chan net.Listener, 1), over: make(chan struct{})}
	return d, d.listen()
}

// listen opens the socket and accepts connections until it is closed.
func (d *door) listen() error {
	l, err := listen(d.home)
	if err != nil {
		return err
	}
	d.listener, d.as = l, stampOf(l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				select {
				case d.broken <- l:
				case <-d.over:
				}
				return
			}
			select {
			case d.requests <- c:
			case <-d.over:
				c.Close()
				return
			}
		}
	}()
	return nil
}

// heal opens the socket again if its file is gone or was replaced, or if it is
// the one that is lost.
func (d *door) heal(sup *supervisor, lost net.Listener) {
	path := d.listener.Addr().String()
	known, err := socketPath(d.home) // what clients find
	how := d.as.changed(path)
	switch {
	case how != "":
	case lost == d.listener:
		how = "accepts no more"
	case err != nil || known != path:
		how = "cannot be found by the note in " + socketNote(d.home)
	}
	if how != "" {
		old := d.listener
		if err := d.listen(); err != nil {
			sup.log.Error("socket", "error", err)
			return
		}
		if l, ok := old.(*net.UnixListener); ok {
			l.SetUnlinkOnClose(false) // the name is the new one's
		}
		_ = old.Close()
		if known != path && filepath.Base(path) == "s" {
			_ = os.RemoveAll(filepath.Dir(path)) // where no client looks any more
		}
		sup.mended(fmt.Sprintf("%s %s; it is opened again", path, how))
	}
}

func (d *door) close() {
	close(d.over)
	unlisten(d.home, d.listener)
}
