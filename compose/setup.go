package compose

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// SetupOptions say what to install. The zero value is what all servers need.
type SetupOptions struct {
	// Environments by name: "mlflow", "airflow", "ray", "evidently", and on
	// request "train" (scikit-learn for training scripts), "dvc",
	// "mlflow2" (a server of the 2.x line, for tests), "s3" (the optional
	// service of that name) and "postgres" (its programs alone).
	// Empty means those of all servers.
	Environments []string
}

// Setup installs what the stack needs on this machine: the Python environments
// from their locks, by uv, and a PostgreSQL if the machine has none. What is
// there already is left alone, so that a Setup that was interrupted continues
// where it stood. It tells its progress to [Options.Progress].
//
// In the Docker runtime it builds and pulls the images instead; environments
// that are named are made on this machine all the same.
//
// The error matches [mlops.ErrUnsupported] if there is no Python and none can
// be fetched.
func (s *Stack) Setup(ctx context.Context, opt SetupOptions) error {
	if len(opt.Environments) > 0 {
		return s.install(ctx, opt.Environments)
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	r, err := s.carrier()
	if err != nil {
		return err
	}
	return r.setup(ctx)
}

// install makes environments on this machine, and "s3" and "postgres".
func (s *Stack) install(ctx context.Context, names []string) error {
	names = slices.Clone(names)
	for name, ensure := range map[string]func(context.Context) error{"s3": s.ensureGateway, "postgres": s.ensurePostgres} {
		if slices.Contains(names, name) {
			if err := ensure(ctx); err != nil {
				return err
			}
			names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		}
	}
	in := installer{home: s.home, tell: s.tell}
	return in.install(ctx, names)
}

// installer makes environments.
type installer struct {
	home string
	tell func(Event)

	mu sync.Mutex // guards tell
}

func (in *installer) say(venv string, state State, format string, args ...any) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tell(Event{Time: time.Now(), Service: venv, State: state, Message: fmt.Sprintf(format, args...)})
}

// install makes the named environments that are not there, two at a time: one
// unpacks and compiles while the other waits for the network.
func (in *installer) install(ctx context.Context, names []string) error {
	missing, err := in.missing(names)
	if err != nil || len(missing) == 0 {
		return err
	}
	free, err := lockFile(ctx, filepath.Join(in.home, "setup.lock"), func() {
		in.say("", StateWaiting, "another setup is running; waiting for it")
	})
	if err != nil {
		return err
	}
	defer free()
	if missing, err = in.missing(names); err != nil || len(missing) == 0 { // the other may have made them
		return err
	}
	if err := in.room(ctx, missing); err != nil {
		return err
	}
	u, err := in.uv(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for _, name := range missing {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			began := time.Now()
			text, _, err := lockText(name)
			if err != nil {
				return err
			}
			in.say(name, StatePreparing, "installing %d packages", len(lockPins(text)))
			if err := u.build(ctx, name); err != nil {
				return fmt.Errorf("compose: setup: %s: %w", name, err)
			}
			in.say(name, StateReady, "installed in %.0f s", time.Since(began).Seconds())
			return nil
		})
	}
	return g.Wait()
}

// missing returns the environments of names that have to be made.
func (in *installer) missing(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		_, sum, err := lockText(name)
		if err == nil && !slices.Contains(environments(), name) {
			_, _, err = lockText("") // uv has a lock and is no environment
		}
		if err != nil {
			return nil, err
		}
		if !made(in.home, name, sum) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out, nil
}

// uv finds a Python and uv, or makes uv.
func (in *installer) uv(ctx context.Context) (uv, error) {
	p, perr := findPython(ctx)
	if perr != nil && !errors.Is(perr, errNoPython) {
		return uv{}, perr
	}
	if perr == nil {
		in.say("", StatePreparing, "Python %s at %s", p.version(), p.Path)
	}
	u, ok := findUV(ctx, in.home)
	switch {
	case ok:
	case perr != nil:
		return uv{}, noPython()
	default:
		in.say("", StatePreparing, "installing uv, which makes the environments")
		var err error
		if u, err = makeUV(ctx, in.home, p); err != nil {
			return uv{}, err
		}
	}
	if perr != nil {
		in.say("", StatePreparing, "no %s found; uv fetches one", pythonRange)
	}
	u.python = p
	return u, nil
}
