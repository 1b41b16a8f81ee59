package mlflow

import (
	"os"

	"github.com/mlops-integration/mlops/internal/spool"
)

// Artifacts that the server does not take hold back neither metrics nor the end
// of a run: they move to a journal of their own, which another sender, or
// whatever adopts it, sends when it can.

// aside is the sender of what was set aside; nil if nothing was.
func (s *sender) aside() *sender {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.side
}

// asideWaits is how many artifacts that were set aside the server does not have.
func (s *sender) asideWaits() int64 {
	if side := s.aside(); side != nil {
		return side.waiting.Load()
	}
	return 0
}

// setAside moves artifacts to the journal beside. They are on the medium when it
// returns nil. A journal that is one itself has no other.
func (s *sender) setAside(at whereabouts, batch []record) error {
	if s.head.Aside {
		return invalid("setAside", "run %s sets nothing aside twice", s.head.UID)
	}
	side := s.aside()
	if side == nil {
		h := head{Server: s.head.Server, UID: s.head.UID, Run: at.id, Aside: true, PID: os.Getpid()}
		j := s.c.out.newJournal(h)
		side = s.c.out.idleSender(s.ctx, j, h)
		side.at, side.placed, side.again, side.adopts = at, true, true, s.adopts
		s.mu.Lock()
		s.side = side
		s.mu.Unlock()
		if !s.adopts {
			s.c.out.add(side)
			go side.loop()
		}
	}
	if err := side.j.Trouble(); err != nil && s.j.Trouble() == nil {
		return err // here they are safe, there they would not be
	}
	for _, r := range batch {
		if r.kind == fileRecord {
			name, err := copyAttached(s.j, side.j, r.text)
			if err != nil {
				return err
			}
			r.text = name
		}
		if err := side.add("setAside", r); err != nil {
			return err
		}
	}
	return side.j.Sync()
}

// copyAttached copies a file that lies beside one journal to another, and
// returns its name there.
func copyAttached(from, to *spool.Journal, name string) (string, error) {
	f, err := from.OpenFile(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return to.AttachFile(f)
}

// endWhenSent lets go of the journal once all in it is sent.
func (s *sender) endWhenSent() {
	_, _ = s.j.Seal(nil)
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	nudge(s.wake)
}
