package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/dvc"
)

func dvcInitCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "dvc-init",
		Usage: "Make the folder a DVC repository, as dvc init does",
		Description: `   git init && mlopsctl dvc-init

   Within a project it also points the repository at the project's remote, in
   .dvc/config.local.`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: func(c *cli.Context) error {
			d, err := e.data(c)
			if err != nil {
				return err
			}
			return d.Init(c.Context)
		},
	}
}

func dvcAddCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "dvc-add",
		Usage:     "Track files or directories, as dvc add does",
		ArgsUsage: "<path>...",
		Description: `   mlopsctl dvc-add data/train.parquet
   git add data/train.parquet.dvc data/.gitignore`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: func(c *cli.Context) error {
			d, err := e.data(c)
			if err != nil {
				return err
			}
			out, err := d.Add(c.Context, c.Args().Slice()...)
			if err != nil {
				return err
			}
			type outJSON struct {
				Path      string `json:"path"`
				DVCFile   string `json:"dvc_file"`
				Hash      string `json:"md5"`
				SizeBytes int64  `json:"size"`
				Files     int    `json:"nfiles,omitempty"`
			}
			t := newTable("PATH", "MD5", "SIZE", "FILES")
			var docs []outJSON
			for _, o := range out {
				t.row(o.Path, o.Hash, sizeText(o.SizeBytes), o.Files)
				docs = append(docs, outJSON{o.Path, o.DVCFile, o.Hash, o.SizeBytes, o.Files})
			}
			return e.table(t, docs)
		},
	}
}

func dvcPushCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "dvc-push",
		Usage:       "Upload tracked data that the remote does not have",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl dvc-push\n   mlopsctl dvc-push data/train.parquet.dvc -r backup",
		Flags:       transferFlags(e),
		Action: func(c *cli.Context) error {
			d, err := e.data(c)
			if err != nil {
				return err
			}
			bar := e.progress()
			t, err := d.Push(c.Context, dvc.PushOptions{Remote: c.String("remote"), Targets: c.Args().Slice(), Jobs: c.Int("jobs"), Progress: transferLine(bar, "push")})
			bar.done()
			if err != nil {
				return err
			}
			return e.print(transferText(t, "pushed"), transferJSON(t))
		},
	}
}

func dvcPullCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "dvc-pull",
		Usage:       "Download, verify and check out tracked data",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl dvc-pull\n   mlopsctl dvc-pull data --force",
		Flags:       append(transferFlags(e), &cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "overwrite files that are not in the cache"}),
		Action: func(c *cli.Context) error {
			d, err := e.data(c)
			if err != nil {
				return err
			}
			bar := e.progress()
			t, err := d.Pull(c.Context, dvc.PullOptions{Remote: c.String("remote"), Targets: c.Args().Slice(), Jobs: c.Int("jobs"), Force: c.Bool("force"), Progress: transferLine(bar, "pull")})
			bar.done()
			if err != nil {
				return err
			}
			return e.print(transferText(t, "pulled"), transferJSON(t))
		},
	}
}

// data is the DVC repository of the project; without one, of the folder.
func (e *env) data(c *cli.Context) (*client.Data, error) {
	p, err := e.project(c)
	if errors.Is(err, client.ErrNoProject) {
		return client.DataIn(c.String("dir"))
	}
	if err != nil {
		return nil, err
	}
	return p.Data, p.Close()
}

func transferFlags(e *env) []cli.Flag {
	return []cli.Flag{
		e.projectFlag(), e.dirFlag(),
		&cli.StringFlag{Name: "remote", Aliases: []string{"r"}, Usage: "`name` of the remote; the default one if empty"},
		&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "files at once"},
	}
}

func transferLine(p *progress, verb string) func(dvc.Progress) {
	return func(now dvc.Progress) {
		if p.live {
			p.set("%s: %d of %d objects, %s", verb, now.Done, now.Total, sizeText(now.DoneBytes))
		}
	}
}

func transferText(t dvc.Transfer, did string) string {
	if t.Objects+len(t.Added)+len(t.Modified) == 0 {
		return "everything is up to date"
	}
	return fmt.Sprintf("%d objects %s, %s", t.Objects, did, sizeText(t.SizeBytes))
}

func transferJSON(t dvc.Transfer) any {
	return struct {
		Remote   string   `json:"remote"`
		Objects  int      `json:"objects"`
		Bytes    int64    `json:"bytes"`
		Present  int      `json:"present"`
		Added    []string `json:"added,omitempty"`
		Modified []string `json:"modified,omitempty"`
	}{t.Remote, t.Objects, t.SizeBytes, t.Present, t.Added, t.Modified}
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
