package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/dvc"
)

// dvcCommand holds dvc's own verbs under dvc's own names, flags and JSON.
func dvcCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "dvc",
		Usage: "Version data, as dvc does and on the same repositories",
		Description: `   mlopsctl dvc add data/train.parquet
   mlopsctl dvc push
   mlopsctl dvc status --json

   Verbs, flags and JSON are dvc's. Exit codes: 0 done, 1 failed or (status -q)
   changed, 2 usage, 3 not found or not in the cache, 5 conflict or the lock is
   held, 6 the remote is away, 130 interrupted.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cd", Aliases: []string{"C", "dir"}, Value: ".", Usage: "work in this `folder`"},
		},
		Subcommands: []*cli.Command{
			dvcInitVerb(e, "init"),
			dvcAddVerb(e, "add"),
			dvcPushVerb(e, "push"),
			dvcPullVerb(e, "pull"),
			dvcFetchVerb(e),
			dvcCheckoutVerb(e),
			dvcStatusVerb(e),
			dvcDataVerb(e),
			dvcDataStatusVerb(e, "data-status"),
			dvcDiffVerb(e),
			dvcCommitVerb(e),
			dvcListVerb(e),
			dvcImportVerb(e),
			dvcImportURLVerb(e),
			dvcGetVerb(e),
			dvcUpdateVerb(e),
			dvcGCVerb(e),
			dvcVerifyVerb(e),
			dvcRemoteVerb(e),
			dvcConfigVerb(e),
			dvcDoctorVerb(e),
		},
	}
}

// The short forms, which also take a project.
func dvcInitCommand(e *env) *cli.Command { return e.shortForm(dvcInitVerb(e, "dvc-init")) }
func dvcAddCommand(e *env) *cli.Command  { return e.shortForm(dvcAddVerb(e, "dvc-add")) }
func dvcPushCommand(e *env) *cli.Command { return e.shortForm(dvcPushVerb(e, "dvc-push")) }
func dvcPullCommand(e *env) *cli.Command { return e.shortForm(dvcPullVerb(e, "dvc-pull")) }

func (e *env) shortForm(c *cli.Command) *cli.Command {
	c.Flags = append([]cli.Flag{e.projectFlag(), e.dirFlag()}, c.Flags...)
	return c
}

// data is the DVC repository of the project; without one, of the folder.
func (e *env) data(c *cli.Context) (*client.Data, error) {
	if os.Getenv("GOGC") == "" {
		// What is known of 100,000 files lives until the end; a heap of twice
		// that is too much beside a training run. Below that, memory that is
		// never touched, and so never there, lets 25 MiB come together before
		// the first collection.
		debug.SetGCPercent(40)
		e.ballast = make([]byte, 64<<20)
	}
	o, err := e.options(c)
	if err != nil {
		return nil, err
	}
	name, _ := c.Value("project").(string) // dvc config has a flag --project, which is none
	p, err := client.FromProject(c.Context, name, o...)
	if errors.Is(err, client.ErrNoProject) {
		return client.DataIn(c.String("dir"))
	}
	if err != nil {
		return nil, err
	}
	return p.Data, p.Close()
}

// repo is the repository itself. Paths are relative to --dir.
func (e *env) repo(c *cli.Context) (*dvc.Repo, error) {
	d, err := e.data(c)
	if err != nil {
		return nil, err
	}
	return d.Repo(c.Context)
}

// inRepo makes the action of a verb.
func (e *env) inRepo(do func(*cli.Context, *dvc.Repo) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		r, err := e.repo(c)
		if err != nil {
			return err
		}
		return do(c, r)
	}
}

func jobsFlag() cli.Flag {
	return &cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "how `many` files at once"}
}

func remoteFlag() cli.Flag {
	return &cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "`name` of the remote; the default one if empty"}
}

func forceFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: usage}
}

func globFlag() cli.Flag {
	return &cli.BoolFlag{Name: "glob", Usage: "operands may have shell-style wildcards"}
}

// operands are the operands, with --glob after their wildcards found files.
func operands(c *cli.Context) ([]string, error) {
	names := c.Args().Slice()
	if !c.Bool("glob") {
		return names, nil
	}
	var out []string
	dir := c.String("dir")
	for _, name := range names {
		pattern := name
		if !filepath.IsAbs(name) {
			pattern = filepath.Join(dir, name)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, usagef("--glob: %q: %v", name, err)
		}
		if len(found) == 0 {
			return nil, usagef("--glob: nothing matches %q", name)
		}
		for _, f := range found {
			if !filepath.IsAbs(name) {
				if f, err = filepath.Rel(dir, f); err != nil {
					return nil, err
				}
			}
			out = append(out, f)
		}
	}
	return out, nil
}

// sizeText is a size for people, in powers of 1024 as servers and files count.
func sizeText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n), 0
	for f >= 1024 && unit < 5 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGTP"[unit])
}
