package cli

import (
	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcInitVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:  name,
		Usage: "Make the folder a DVC repository, as dvc init does",
		Description: `   git init && mlopsctl ` + verb(name) + `

   Within a project it also points the repository at the project's remote, in
   .dvc/config.local.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "subdir", Usage: "in a folder of a git repository"},
			&cli.BoolFlag{Name: "no-scm", Usage: "without git"},
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "replace the .dvc folder that is there, with the cache in it"},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("subdir") && c.Bool("no-scm") {
				return usagef("only one of --subdir and --no-scm")
			}
			d, err := e.data(c)
			if err != nil {
				return err
			}
			var opts []dvc.Option
			for flag, opt := range map[string]func() dvc.Option{"subdir": dvc.Subdir, "no-scm": dvc.NoSCM, "force": dvc.Force} {
				if c.Bool(flag) {
					opts = append(opts, opt())
				}
			}
			return d.Init(c.Context, opts...)
		},
	}
}

func dvcAddVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     "Track files or directories, as dvc add does",
		ArgsUsage: "<path>...",
		Description: `   mlopsctl ` + verb(name) + ` data/train.parquet
   git add data/train.parquet.dvc data/.gitignore
   mlopsctl ` + verb(name) + ` /mnt/camera/day1 -o data/day1
   mlopsctl ` + verb(name) + ` s3://bucket/images --to-remote`,
		Flags: []cli.Flag{
			globFlag(),
			&cli.BoolFlag{Name: "no-commit", Usage: "leave the cache as it is; a later add or commit fills it"},
			&cli.BoolFlag{Name: "no-relink", Usage: "leave the files as they are, whatever cache.type says"},
			&cli.StringFlag{Name: "out", Aliases: []string{"o"}, Usage: "bring a path or URL from elsewhere to this `path`"},
			&cli.BoolFlag{Name: "to-remote", Usage: "bring it to the remote alone, for a later pull"},
			remoteFlag(),
			&cli.IntFlag{Name: "remote-jobs", Aliases: []string{"jobs", "j"}, Usage: "with --to-remote, how `many` files at once"},
			forceFlag("replace what is at the destination"),
		},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			paths, err := operands(c)
			if err != nil {
				return err
			}
			m := e.meter("add")
			o := dvc.AddOptions{
				NoCommit: c.Bool("no-commit"), NoRelink: c.Bool("no-relink"), Out: c.String("out"), ToRemote: c.Bool("to-remote"),
				Remote: c.String("remote"), Transfers: dvc.Transfers{Jobs: c.Int("remote-jobs"), Progress: m.report}, Force: c.Bool("force"),
			}
			out, err := r.Add(c.Context, paths, o)
			m.done()
			if err != nil {
				return err
			}
			return e.outputs(out)
		}),
	}
}

// verb is how a verb of dvc is called in full.
func verb(name string) string {
	if len(name) > 4 && name[:4] == "dvc-" {
		return name
	}
	return "dvc " + name
}

// outputs prints data that is tracked now.
func (e *env) outputs(out []dvc.Output) error {
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
		size := sizeText(o.SizeBytes)
		if o.SizeBytes < 0 {
			size = "" // dvc drops it when a part of a directory is exchanged
		}
		t.row(o.Path, o.Hash, size, o.Files)
		docs = append(docs, outJSON{o.Path, o.DVCFile, o.Hash, o.SizeBytes, o.Files})
	}
	return e.table(t, docs)
}
