package cli

import (
	"cmp"
	"errors"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
)

// infrastructure opens what the command line leads to, without a project.
func (e *env) infrastructure(c *cli.Context) (*client.Client, error) {
	o, err := e.options(c)
	if err != nil {
		return nil, err
	}
	return client.Open(c.Context, o...)
}

// inInfrastructure makes the action of a command that works without a project.
func (e *env) inInfrastructure(do func(*cli.Context, *client.Client) error) cli.ActionFunc {
	return within(e.infrastructure, do)
}

// project opens the project that -p, MLOPS_PROJECT or mlops.yaml names.
func (e *env) project(c *cli.Context) (*client.Project, error) {
	o, err := e.options(c)
	if err != nil {
		return nil, err
	}
	return client.FromProject(c.Context, c.String("project"), o...)
}

// inProject makes the action of a command that works for one project.
func (e *env) inProject(do func(*cli.Context, *client.Project) error) cli.ActionFunc {
	return within(e.project, do)
}

// anyProject opens the infrastructure for a command that a project may be named
// to and that needs none: an ID says enough.
func (e *env) anyProject(c *cli.Context) (*client.Client, error) {
	p, err := e.infrastructure(c)
	if err != nil {
		return nil, err
	}
	if _, err := p.Project(c.String("project")); err != nil && !errors.Is(err, client.ErrNoProject) {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// named is the project that -p or MLOPS_PROJECT names to a command that shows
// everything without one; nil if neither does.
func named(c *cli.Context, p *client.Client) (*client.Project, error) {
	if c.String("project") == "" {
		return nil, nil
	}
	return p.Project(c.String("project"))
}

// inAnyProject makes the action of a command for which see anyProject.
func (e *env) inAnyProject(do func(*cli.Context, *client.Client) error) cli.ActionFunc {
	return within(e.anyProject, do)
}

func within[T io.Closer](open func(*cli.Context) (T, error), do func(*cli.Context, T) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		p, err := open(c)
		if err != nil {
			return err
		}
		return errors.Join(do(c, p), p.Close())
	}
}

// options are what the command line says about where things are.
func (e *env) options(c *cli.Context) ([]client.Option, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	o := []client.Option{client.WithHome(home), client.WithLogger(e.log)}
	if dir := c.String("dir"); dir != "" {
		o = append(o, client.In(dir))
	}
	return o, nil
}

// stack is the local stack, whose work is told on stderr through p.
func (e *env) stack(p *progress) (*compose.Stack, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	return compose.New(compose.Options{Home: home, Runtime: cmp.Or(e.runtime, e.getenv("MLOPS_RUNTIME")), Progress: func(ev compose.Event) {
		p.keep("%-22s %-10s %s", ev.Service, ev.State, ev.Message)
	}})
}

// pairs reads operands of the form key=value.
func pairs(args []string, what string) ([][2]string, error) {
	var out [][2]string
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, usagef("%q: want %s=value", a, what)
		}
		out = append(out, [2]string{k, v})
	}
	return out, nil
}

// pairMap is pairs as a map; a repeated key is an error.
func pairMap(args []string, what string) (map[string]string, error) {
	list, err := pairs(args, what)
	if err != nil {
		return nil, err
	}
	m := map[string]string{}
	for _, kv := range list {
		if _, twice := m[kv[0]]; twice {
			return nil, usagef("%s %q is given twice", what, kv[0])
		}
		m[kv[0]] = kv[1]
	}
	return m, nil
}
