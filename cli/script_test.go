package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/compose"
)

// TestMain gives the scripts two programs: mlopsctl, and lab, the same shell
// with commands that do nothing but what a test needs.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		program: func() {
			os.Exit(Main(Signals(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
		"lab": func() {
			e := newEnv(os.Stdin, os.Stdout, os.Stderr, labCommands)
			ctx := context.Background()
			os.Exit(e.exit(ctx, e.run(ctx, os.Args[1:])))
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits,
		},
	})
}

// setUp gives a script a home and a recording of a Mac.
func setUp(env *testscript.Env) error {
	env.Setenv("MLOPS_HOME", env.WorkDir+"/mlops-home")
	env.Setenv("GORACE", cmp.Or(os.Getenv("GORACE"), "atexit_sleep_ms=0")) // else each command sleeps for a second before it ends
	recording, err := filepath.Abs("../testdata/applesilicon/m3max.ndjson")
	env.Setenv("RECORDING", recording)
	return err
}

// exits runs a program and wants its exit code: exits 2 mlopsctl vresion
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [arg...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if x, ok := errors.AsType[interface {
		error
		ExitCode() int
	}](err); ok {
		code = fmt.Sprint(x.ExitCode())
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != args[0] {
		ts.Fatalf("%s: exit code %s, want %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// labErrors are the errors that lab fail returns.
var labErrors = map[string]error{
	"plain":      errors.New("disk\n  is\x1b[31m full\n\tnow"),
	"notfound":   &mlops.Error{Kind: mlops.ErrNotFound, Service: "mlflow", Op: "Run", Message: "No run", Code: "RESOURCE_DOES_NOT_EXIST"},
	"start":      fmt.Errorf("demo: %w", &compose.StartError{Service: "ray", Reason: "exit status 1", LogFile: "/x/ray.log", Log: []string{"one", "two\x1b[0m"}}),
	"nostack":    &mlops.Error{Kind: mlops.ErrNotFound, Message: "no stack is running under /x"},
	"who":        &mlops.Error{Kind: mlops.ErrUnauthenticated, Service: "mlflow", Status: 401},
	"forbidden":  &mlops.Error{Kind: mlops.ErrForbidden, Service: "airflow"},
	"exists":     &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: "mlflow"},
	"conflict":   fmt.Errorf("deploy: %w", &mlops.Error{Kind: mlops.ErrConflict, Service: "rayserve"}),
	"away":       &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Run", Message: "no answer from http://127.0.0.1:5000: connection refused"},
	"sick":       &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Status: 500, Message: "http://127.0.0.1:5000 answered 500"},
	"far":        &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Message: "no answer from https://mlflow.example: no such host"},
	"slow":       &mlops.Error{Kind: mlops.ErrRateLimited, Service: "mlflow"},
	"old":        &mlops.Error{Kind: mlops.ErrUnsupported, Service: "airflow", Status: 405},
	"invalid":    &mlops.Error{Kind: mlops.ErrInvalid, Service: "mlflow"},
	"hinted":     withHint(errors.New("no project named"), "mlopsctl run start -p <name>"),
	"usage":      usagef("only one of --all and --name"),
	"drift":      withCode(exitDrift, nil),
	"degraded":   withCode(exitDegraded, nil),
	"stopped":    withCode(exitStopped, nil),
	"notsent":    withCode(exitNotSent, errors.New("3 records wait")),
	"notsent404": withCode(exitNotSent, &mlops.Error{Kind: mlops.ErrNotFound}),
	"none":       withHint(nil, "nothing to do"),
}

func labCommands(e *env) []*cli.Command {
	return []*cli.Command{
		{
			Name: "run", Usage: "Work on runs",
			Subcommands: []*cli.Command{
				{
					Name: "start", Usage: "Start a run and print its ID", Aliases: []string{"begin"},
					Description: "   run=$(mlopsctl run start -p demo)\n   echo \"$run\"",
					Flags: []cli.Flag{
						e.projectFlag(), e.dirFlag(),
						&cli.StringFlag{Name: "name", Usage: "display `name` of the run"},
						&cli.StringSliceFlag{Name: "tag", Usage: "a tag"},
						&cli.BoolFlag{Name: "force", Aliases: []string{"f"}},
						&cli.BoolFlag{Name: "secret", Hidden: true},
					},
					Action: func(c *cli.Context) error {
						home, err := e.home()
						if err != nil {
							return err
						}
						e.log.Debug("request", "op", "StartRun")
						return e.print(fmt.Sprintf("project=%s name=%s force=%v tags=%d dir=%s home=%s", c.String("project"), c.String("name"), c.Bool("force"), len(c.StringSlice("tag")), c.String("dir"), home),
							map[string]any{"project": c.String("project"), "name": c.String("name"), "json": e.jsonFlag()})
					},
				},
				{Name: "end", Usage: "End a run", ArgsUsage: "[run]", Action: func(c *cli.Context) error { return e.print(c.Args().First(), nil) }},
				{Name: "old", Hidden: true, Action: func(*cli.Context) error { return nil }},
			},
		},
		{
			Name: "log", Usage: "Print operands", ArgsUsage: "<key=value>...",
			Flags: []cli.Flag{&cli.Int64Flag{Name: "step"}, &cli.DurationFlag{Name: "wait"}, &cli.BoolFlag{Name: "1"}},
			Action: func(c *cli.Context) error {
				return e.print(fmt.Sprintf("%d:%s", c.Int64("step"), strings.Join(c.Args().Slice(), "|")), c.Args().Slice())
			},
		},
		{
			Name: "deploy", ArgsUsage: "<model> [version]", Usage: "Deploy", Category: "Models",
			Flags:  []cli.Flag{&cli.StringFlag{Name: "route", Required: true, EnvVars: []string{"LAB_ROUTE"}}},
			Action: func(c *cli.Context) error { return e.print(c.Args().Slice(), nil) },
		},
		{
			Name: "fail", ArgsUsage: "<kind>",
			Action: func(c *cli.Context) error {
				err, ok := labErrors[c.Args().First()]
				if !ok {
					return usagef("no such kind")
				}
				return err
			},
		},
		{
			Name: "list", ArgsUsage: "[name...]",
			Action: func(c *cli.Context) error {
				t := newTable("NAME", "STATE", "N")
				t.empty = "nothing yet"
				var doc []string
				for i, n := range c.Args().Slice() {
					t.row(n, good("healthy"), i)
					doc = append(doc, n)
				}
				p := e.progress()
				p.set("counting")
				p.set("counting")
				p.set("counted <%d>", len(doc))
				p.done()
				return e.table(t, doc)
			},
		},
		{Name: "echo", Action: func(*cli.Context) error { _, err := io.Copy(e.stdout, e.stdin); return err }},
		versionCommand(e), completionCommand(e), completeCommand(e),
	}
}
