package mlflow

import (
	"context"
	"fmt"

	"github.com/mlops-integration/mlops"
)

// patience is what makes a flush give up.
type patience int

const (
	someTries patience = iota // so many failed attempts
	stubborn                  // ctx alone
)

// flush waits until all that was logged before is settled. It gives up when
// ctx ends, when nothing listens at the server's address, at an error that will
// not go away by itself, and when p is at its end.
func (s *sender) flush(ctx context.Context, p patience) error {
	if err := s.flushOwn(ctx, p); err != nil {
		return err
	}
	if side := s.aside(); side != nil {
		return side.flushOwn(ctx, p)
	}
	return nil
}

// flushOwn is flush without what is set aside.
func (s *sender) flushOwn(ctx context.Context, p patience) error {
	target := s.j.Stats().Last
	s.mu.Lock()
	failures := s.failures
	s.flushes++
	s.mu.Unlock()
	nudge(s.wake)
	defer func() {
		s.mu.Lock()
		s.flushes--
		s.mu.Unlock()
	}()
	for {
		s.mu.Lock()
		done, changed, failure := s.placed && s.done >= target, s.changed, s.failure
		failed := s.failures - failures
		s.mu.Unlock()
		_, fails := failing(failure)
		switch {
		case done:
			return nil
		case failed > 0 && failure != nil && (!unsure(failure) && !fails || p == someTries && failed >= flushTries):
			return s.waits(failure)
		case s.ctx.Err() != nil:
			return invalid("Flush", "the run is closed; %d records were not sent", s.waiting.Load())
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
		case <-ctx.Done():
			if failure == nil {
				failure = fmt.Errorf("mlflow: Flush: %w", context.Cause(ctx))
			}
			return s.waits(failure)
		}
	}
}

func (s *sender) waits(err error) error {
	n := s.waiting.Load()
	if n == 0 { // the run itself is not there yet
		return err
	}
	return fmt.Errorf("%w; %d records wait", err, n)
}

// whereabouts waits until the server has the run.
func (s *sender) whereabouts(ctx context.Context) (whereabouts, error) {
	if s == nil {
		return whereabouts{}, errNoRun("ID")
	}
	for {
		s.mu.Lock()
		at, placed, failure, changed := s.at, s.placed, s.failure, s.changed
		s.mu.Unlock()
		switch {
		case placed:
			return at, nil
		case failure != nil && !goesOn(failure):
			return at, failure
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return at, invalid("ID", "the run is closed; the server does not have it")
		case <-ctx.Done():
			if failure == nil {
				failure = &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "ID", Cause: context.Cause(ctx), Message: "the server has not answered yet"}
			}
			return at, failure
		}
	}
}
