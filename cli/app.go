// Package cli holds the commands of mlopsctl.
//
// A command reads its flags, calls one method of the library and prints. What
// all commands share is here: how arguments are read, what goes to stdout and
// what to stderr, and which exit code an error has (exit.go).
package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
)

// Main runs mlopsctl with args, which do not hold the program's name, and
// returns the exit code. It ends early, with code 130, when ctx does.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	e := newEnv(stdin, stdout, stderr, commands)
	err := e.run(ctx, args)
	e.hush()
	return e.exit(ctx, err)
}

// env is what commands share: the streams, the global flags and the ways to
// print (output.go, progress.go).
type env struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	talking        sync.Mutex           // held while a note is written
	hushed         bool                 // no more notes: the last word is the error
	terminal       func(io.Writer) bool // reports whether it is one
	width          func(io.Writer) int  // its columns

	json    bool
	timeout time.Duration   // --timeout; 0: none
	base    context.Context // without it: for what is not to be given up
	quiet   bool
	debug   bool
	homeDir string
	runtime string // of the stack: --runtime, where a command has it
	ballast []byte // what makes the first collection of garbage come later
	silence string // the note that MLflow did not answer (silence.go); empty: none is kept

	log *slog.Logger // pass it to the library: requests and retries, with --debug

	app *cli.App
	ran bool   // the command's own code was reached: its errors are not about usage
	at  string // the command that runs: "mlopsctl run start"
}

func newEnv(stdin io.Reader, stdout, stderr io.Writer, commands func(*env) []*cli.Command) *env {
	if _, ok := stderr.(*os.File); !ok { // os/exec copies what a child says there, beside our notes
		stderr = &oneAtATime{w: stderr}
	}
	e := &env{
		stdin: stdin, stdout: stdout, stderr: stderr,
		getenv: os.Getenv, terminal: isTerminal, width: columns,
		at: program,
	}
	e.log = slog.New(&talk{e: e})
	e.app = &cli.App{
		Name:     program,
		Commands: commands(e),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print JSON documents", Destination: &e.json},
			&cli.StringFlag{Name: "home", Usage: "`folder` of servers and state", DefaultText: "MLOPS_HOME, else ~/.mlops", Destination: &e.homeDir},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "tell no progress", Destination: &e.quiet},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after `duration`; 0: never; what is logged is kept and sent later", Destination: &e.timeout},
			&cli.BoolFlag{Name: "debug", Aliases: []string{"verbose", "v"}, Usage: "tell requests and retries on stderr", Destination: &e.debug},
		},
		Before:                    e.begin,
		HideHelp:                  true, // help.go
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // a comma may be part of a value
		Writer:                    io.Discard,
		ErrWriter:                 io.Discard,
		ExitErrHandler:            func(*cli.Context, error) {}, // exit.go
		OnUsageError:              asIs,
	}
	for _, c := range e.app.Commands {
		e.settle(c)
	}
	return e
}

// oneAtATime is a writer for several goroutines. A file is one already.
type oneAtATime struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *oneAtATime) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

const program = "mlopsctl"

// settle disables urfave/cli's own help and usage handling: help as a command of
// each command, usage errors on stdout.
func (e *env) settle(c *cli.Command) {
	c.HideHelp, c.HideHelpCommand = true, true
	c.OnUsageError = asIs
	if run := c.Action; run != nil {
		c.Action = func(c *cli.Context) error {
			e.ran = true
			return run(c)
		}
	}
	for _, sub := range c.Subcommands {
		e.settle(sub)
	}
}

func asIs(_ *cli.Context, err error, _ bool) error { return err }

// run finds the command, gives help or runs it.
func (e *env) run(ctx context.Context, args []string) error {
	in, err := e.read(args)
	e.at = in.name()
	if err != nil { // the flags are not read any more
		own := args
		if i := slices.Index(args, "--"); i >= 0 {
			own = args[:i]
		}
		e.json = slices.Contains(own, "--json")
	}
	switch {
	case err != nil:
		return err
	case in.help:
		_, err := io.WriteString(e.stdout, e.help(in.path))
		return err
	}
	err = e.app.RunContext(ctx, in.argv)
	if err != nil && !e.ran {
		return usage(err)
	}
	return err
}

// begin runs before the command, when the global flags are known.
func (e *env) begin(c *cli.Context) error {
	if e.debug {
		e.log = slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	e.base = c.Context
	if e.timeout > 0 {
		ctx, cancel := context.WithTimeoutCause(c.Context, e.timeout, &timedOut{e.timeout})
		context.AfterFunc(ctx, cancel)
		c.Context = ctx
	}
	return nil
}

// timedOut is the reason why a command ended at --timeout.
type timedOut struct{ after time.Duration }

func (t *timedOut) Error() string { return fmt.Sprintf("not done within %v (--timeout)", t.after) }
func (t *timedOut) Unwrap() error { return mlops.ErrUnavailable }

// talk is the handler of a log without --debug: it says which server does not
// answer, and drops all else.
type talk struct{ e *env }

func (*talk) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (t *talk) WithAttrs([]slog.Attr) slog.Handler         { return t }
func (t *talk) WithGroup(string) slog.Handler              { return t }

func (t *talk) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "no answer yet" {
		return nil
	}
	said := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		said[a.Key] = a.Value.String()
		return true
	})
	t.e.note("%s: %s has not answered for %s; waiting (--timeout bounds it)", program, said["url"], said["waited"])
	return nil
}

// home is the folder of servers and state: --home, else MLOPS_HOME, else
// ~/.mlops.
func (e *env) home() (string, error) {
	if e.homeDir != "" {
		return filepath.Abs(e.homeDir)
	}
	return mlops.Home()
}

// jsonFlag reports whether --json was given, for commands that print as they
// go. All others leave it to e.print and e.table.
func (e *env) jsonFlag() bool { return e.json }

// projectFlag is --project, for commands that work for one project.
func (e *env) projectFlag() cli.Flag {
	return &cli.StringFlag{Name: "project", Aliases: []string{"p"}, EnvVars: []string{"MLOPS_PROJECT"}, Usage: "`name` of the project"}
}

// dirFlag is --dir, for commands that work in a repository.
func (e *env) dirFlag() cli.Flag {
	return &cli.StringFlag{Name: "dir", Aliases: []string{"C", "cd"}, Value: ".", Usage: "`folder` of the project"}
}
