package cli

import (
	"cmp"
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
)

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

// inAnyProject is inProject for commands that need no name: see projectOrAny.
func (e *env) inAnyProject(do func(*cli.Context, *client.Project) error) cli.ActionFunc {
	return within(e.projectOrAny, do)
}

func within(open func(*cli.Context) (*client.Project, error), do func(*cli.Context, *client.Project) error) cli.ActionFunc {
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
