package cli

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

func gcCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "List runs that were deleted, and remove them for good with --yes",
		Description: `   mlopsctl gc -p lora-finetuning
   mlopsctl gc -p lora-finetuning --older-than 90d --yes
   mlopsctl gc --all --yes     of all projects

   Without --yes it lists what run delete has marked longer ago than --older-than,
   and what each is kept for. With --yes it removes what nothing refers to, with its
   artifacts; that cannot be taken back. What a registered version, a logged model, a
   deployment, another run or a trace refers to stays, and so does what is in doubt.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "of all projects"},
			&cli.StringFlag{Name: "older-than", Value: "30d", Usage: "only what was deleted longer ago than this `time`: 30d, 12h, 1d12h30m; 0s for all"},
			&cli.BoolFlag{Name: "yes", Usage: "remove it"},
		},
		Action: func(c *cli.Context) error {
			older, err := ageOf(c.String("older-than"))
			if err != nil {
				return err
			}
			return e.inAnyProject(func(c *cli.Context, p *client.Client) error { return e.collectGarbage(c, p, older) })(c)
		},
	}
}

func (e *env) collectGarbage(c *cli.Context, p *client.Client, older time.Duration) error {
	o := compose.GarbageOptions{OlderThan: older}
	if !c.Bool("all") {
		own, err := p.Project(c.String("project"))
		if errors.Is(err, client.ErrNoProject) {
			return withHint(err, program+" gc --all is of all projects")
		}
		if err != nil {
			return err
		}
		id, err := own.ExperimentID(c.Context)
		if err != nil {
			return err
		}
		o.Experiments = []string{id}
	}
	s, err := e.stackOf(p)
	if err != nil {
		return err
	}
	list, err := s.Garbage(c.Context, o)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		err := e.garbage(list, "nothing was deleted that long ago")
		if what := summary(list); err == nil && what != "" {
			e.note("--yes removes %s for good", what)
		}
		return err
	}
	gone, err := s.Collect(c.Context, list)
	if err != nil {
		return err
	}
	left := 0
	for _, g := range gone {
		if g.KeptFor != "" {
			left++
		}
	}
	if err := e.garbage(gone, "nothing was removed"); err != nil || left == 0 {
		return err
	}
	return withCode(exitFailed, fmt.Errorf("%s not removed whole; KEPT FOR says why", plural(left, "run was", "runs were")))
}

// stackOf is the local stack, if its MLflow is the one that p leads to.
func (e *env) stackOf(p *client.Client) (*compose.Stack, error) {
	home, err := e.home()
	if err != nil {
		return nil, err
	}
	here, err := stackfile.Read(home)
	if err != nil && !errors.Is(err, mlops.ErrNotFound) {
		return nil, err
	}
	at, err := url.Parse(p.MLflow.URL())
	if err != nil || here.Endpoints[stackfile.MLflow].URL != at.Scheme+"://"+at.Host {
		return nil, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "mlflow", Op: "gc", Message: fmt.Sprintf(
			"%s is not the MLflow of the stack of %s, and MLflow has no request for this; run mlopsctl gc on the machine and in the home of its stack", p.MLflow.URL(), home)}
	}
	return e.stack(&progress{w: e.stderr, quiet: true})
}

func (e *env) garbage(list []compose.Garbage, none string) error {
	t := newTable("RUN", "NAME", "DELETED", "SIZE", "KEPT FOR")
	t.empty = none
	for _, g := range list {
		size := sizeText(g.SizeBytes)
		if g.KeptFor != "" {
			size = ""
		}
		t.row(g.ID, g.Name, ago(time.UnixMilli(g.Deleted)), size, g.KeptFor)
	}
	return e.table(t, list)
}

// summary says how many runs can be removed, and what that frees; "" for none.
func summary(list []compose.Garbage) string {
	n, size := 0, int64(0)
	for _, g := range list {
		if g.KeptFor == "" {
			n++
			size += g.SizeBytes
		}
	}
	if n == 0 {
		return ""
	}
	return plural(n, "run", "runs") + " with " + sizeText(size) + " of artifacts"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

var agePattern = regexp.MustCompile(`^(?:(\d{1,5})d)?(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?$`)

// ageOf reads a time as "mlflow gc" does, which knows days. An empty one, as of a
// variable of the shell that is not set, is none.
func ageOf(s string) (time.Duration, error) {
	m := agePattern.FindStringSubmatch(s)
	if m == nil || s == "" {
		return 0, usagef("--older-than: %q is not a time; write 30d, 12h or 1d12h30m", s)
	}
	var total time.Duration
	if m[1] != "" {
		days, _ := time.ParseDuration(m[1] + "h")
		total = 24 * days
	}
	rest, _ := time.ParseDuration("0s" + strings.Join(m[2:], ""))
	return total + rest, nil
}
