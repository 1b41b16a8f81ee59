package compose

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/mlops-integration/mlops"
)

// processes is the runtime of a stack whose servers are processes of this
// machine, which a supervisor watches.
type processes struct{ *Stack }

func (s processes) services(light bool) []service { return s.recipes(light) }

func (s processes) start(ctx context.Context, opt StartOptions) (Status, error) {
	if len(opt.Scale) > 0 {
		return Status{}, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Op: "start", Message: "only the Docker runtime has several containers of a service"}
	}
	before, err := readState(s.home)
	if err != nil {
		return Status{}, err
	}
	want, err := toStart(s.recipes(opt.Light), opt.Services, before.Optional)
	if err != nil {
		return Status{}, err
	}
	if err := makeHome(s.home); err != nil {
		return Status{}, err
	}
	if err := s.ensureAll(ctx, want); err != nil {
		return Status{}, err
	}
	a, err := s.askLasting(ctx, request{Op: "start", Start: opt}, true)
	if err != nil {
		return Status{}, err
	}
	return a.Status, a.err()
}

// ensureAll makes what the services need on disk.
func (s *Stack) ensureAll(ctx context.Context, want []service) error {
	if s.catalog != nil {
		return nil
	}
	var venvs []string
	for _, v := range want {
		if v.venv != "" && !slices.Contains(venvs, v.venv) {
			venvs = append(venvs, v.venv)
		}
		if v.name == "postgres" {
			if err := s.ensurePostgres(ctx); err != nil {
				return err
			}
		}
		if v.name == "s3" {
			if err := s.ensureGateway(ctx); err != nil {
				return err
			}
		}
	}
	if len(venvs) == 0 {
		return nil
	}
	return s.Setup(ctx, SetupOptions{Environments: venvs})
}

func (s processes) stop(ctx context.Context, opt StopOptions) error {
	if _, err := resolve(s.recipes(false), opt.Services, false); err != nil {
		return err
	}
	a, err := s.askLasting(ctx, request{Op: "stop", Stop: opt}, false)
	if errors.Is(err, errNoSupervisor) || errors.Is(err, errHungUp) {
		if _, err := os.Stat(statePath(s.home)); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return s.stopAlone(ctx, opt)
	}
	if err != nil {
		return err
	}
	if a.Ending {
		return errors.Join(a.err(), s.awaitEnd(ctx))
	}
	return a.err()
}

func (s processes) status(ctx context.Context) (Status, error) {
	a, err := s.askLasting(ctx, request{Op: "status"}, false)
	if errors.Is(err, errNoSupervisor) || errors.Is(err, errHungUp) {
		return s.statusAlone()
	}
	if err != nil {
		return Status{}, err
	}
	return a.Status, a.err()
}

func (s processes) setup(ctx context.Context) error {
	if err := s.install(ctx, servers); err != nil {
		return err
	}
	return s.ensurePostgres(ctx)
}

// destroy deletes a twin. Of any other stack it deletes nothing: databases that
// are deleted are gone.
func (s processes) destroy(ctx context.Context) error {
	if isTwin(s.home) {
		return s.discard(func() error { return s.stop(ctx, StopOptions{}) })
	}
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "compose", Op: "destroy", Message: "the process runtime deletes no databases; to delete all that it has: mlopsctl stop && rm -r " + quoted(s.Places()...) + systemUserLeft()}
}
