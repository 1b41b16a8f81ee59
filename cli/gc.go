package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
		Usage: "Permanently delete runs, logged models and experiments that were deleted",
		Description: `   mlopsctl gc -p lora-finetuning --dry-run
   mlopsctl gc -p lora-finetuning --older-than 30d
   mlopsctl gc --all --older-than 30d --yes     of all projects, without a question

   Removes what run delete and experiment delete have marked, with the artifacts,
   by "mlflow gc" on the stack's own database; it cannot be restored. What a
   version of a registered model is made of stays.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "of all projects"},
			&cli.StringFlag{Name: "older-than", Usage: "only what was deleted longer ago than this `time`: 30d, 12h, 1d12h30m"},
			&cli.BoolFlag{Name: "dry-run", Usage: "list it and delete nothing"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask"},
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
	if c.Bool("dry-run") {
		return e.garbage(list, "nothing to remove")
	}
	if err := e.mayRemove(list, c.Bool("yes")); err != nil {
		return err
	}
	gone, err := s.Collect(c.Context, list)
	if err == nil || len(gone) > 0 {
		err = errors.Join(e.garbage(gone, "nothing was removed"), err)
		e.note("removed %s", summary(gone))
	}
	return err
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
			"%s is not the MLflow of the stack of %s, and MLflow has no request for this; on its machine, run: mlflow gc --backend-store-uri <its database>", p.MLflow.URL(), home)}
	}
	return e.stack(&progress{w: e.stderr, quiet: true})
}

// mayRemove asks on a terminal, and wants --yes elsewhere.
func (e *env) mayRemove(list []compose.Garbage, yes bool) error {
	if yes || summary(list) == nothing {
		return nil
	}
	if in, ok := e.stdin.(io.Writer); !ok || e.json || e.quiet || !e.terminal(in) || !e.terminal(e.stderr) {
		return usagef("this deletes %s for good; --dry-run lists it, --yes does it", summary(list))
	}
	fmt.Fprintf(e.stderr, "delete %s for good? [y/N] ", summary(list))
	line, err := bufio.NewReader(e.stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); err != nil || answer != "y" && answer != "yes" {
		return withCode(exitFailed, errors.New("nothing was removed"))
	}
	return nil
}

func (e *env) garbage(list []compose.Garbage, none string) error {
	t := newTable("KIND", "ID", "NAME", "SIZE", "KEPT FOR")
	t.empty = none
	for _, g := range list {
		size := sizeText(g.SizeBytes)
		switch {
		case g.KeptFor != "":
			size = ""
		case g.Unknown:
			size += " or more"
		}
		t.row(string(g.Kind), g.ID, g.Name, size, g.KeptFor)
	}
	return e.table(t, list)
}

const nothing = "nothing"

// summary says how many of what can be removed, and what that frees.
func summary(list []compose.Garbage) string {
	count, size := map[compose.GarbageKind]int{}, int64(0)
	for _, g := range list {
		if g.KeptFor == "" {
			count[g.Kind]++
			size += g.SizeBytes
		}
	}
	var parts []string
	for _, kind := range []compose.GarbageKind{compose.GarbageRun, compose.GarbageModel, compose.GarbageExperiment} {
		switch n := count[kind]; n {
		case 0:
		case 1:
			parts = append(parts, fmt.Sprintf("1 %s", kind))
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, kind))
		}
	}
	if len(parts) == 0 {
		return nothing
	}
	return strings.Join(parts, ", ") + " with " + sizeText(size) + " of artifacts"
}

var agePattern = regexp.MustCompile(`^(?:(\d{1,5})d)?(\d{1,6}h)?(\d{1,6}m)?(\d{1,6}s)?$`)

// ageOf reads a time as "mlflow gc" does, which knows days.
func ageOf(s string) (time.Duration, error) {
	m := agePattern.FindStringSubmatch(s)
	if m == nil {
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
