package cli

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcCommitVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:        "commit",
		Usage:       "Record what changed in tracked data",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl dvc commit -f data",
		Flags: append([]cli.Flag{
			forceFlag("record changes; without it they are only named"),
			&cli.BoolFlag{Name: "no-relink", Usage: "leave the files as they are, whatever cache.type says"},
		}, scopeFlags()[:2]...),
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			out, err := r.Commit(c.Context, dvc.CommitOptions{
				Targets: c.Args().Slice(), Scope: scope(c), NoRelink: c.Bool("no-relink"), Force: c.Bool("force"),
			})
			if err != nil {
				return err
			}
			if len(out) == 0 && !e.json {
				e.note("nothing to commit")
				return nil
			}
			return e.outputs(out)
		}),
	}
}

func dvcListVerb(e *env) *cli.Command {
	return &cli.Command{
		Name: "list", Aliases: []string{"ls"},
		Usage:     "List what git and DVC track in a repository, at a commit",
		ArgsUsage: "<url> [path]",
		Description: `   mlopsctl dvc list . data
   mlopsctl dvc list -R --dvc-only --rev v1 https://example.com/project.git

   Without --rev the commit is the one that is checked out.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "list the files in directories"},
			&cli.BoolFlag{Name: "tree", Aliases: []string{"T"}, Usage: "draw directories and files as a tree"},
			&cli.IntFlag{Name: "level", Aliases: []string{"L"}, Usage: "with --recursive or --tree, how `deep`"},
			&cli.BoolFlag{Name: "dvc-only", Usage: "leave out what git tracks"},
			&cli.StringFlag{Name: "rev", Usage: "git `commit`, branch or tag"},
			&cli.BoolFlag{Name: "size", Usage: "show sizes"},
			&cli.BoolFlag{Name: "show-hash", Usage: "show hashes"},
		},
		Action: func(c *cli.Context) (err error) {
			if e.json && c.Bool("tree") {
				return usagef("--tree is for people, --recursive --json for programs: not both")
			}
			src, err := dvc.OpenSource(c.Context, c.Args().Get(0), dvc.SourceOptions{Rev: c.String("rev")})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, src.Close()) }()
			all, err := src.List(c.Context, dvc.ListOptions{Path: c.Args().Get(1), Recursive: c.Bool("recursive"), Tree: c.Bool("tree"), Level: c.Int("level"), DVCOnly: c.Bool("dvc-only")})
			if err != nil {
				return err
			}
			if c.Bool("tree") {
				all = drawn(orDot(c.Args().Get(1)), all)
			}
			t := newTable()
			for _, x := range all {
				var cells []any
				if c.Bool("size") {
					size := ""
					if x.SizeBytes != nil {
						size = sizeText(*x.SizeBytes)
					}
					cells = append(cells, size)
				}
				if c.Bool("show-hash") {
					hash := ""
					if x.Hash != nil {
						hash = *x.Hash
					}
					cells = append(cells, hash)
				}
				t.row(append(cells, x.Path)...)
			}
			return e.table(t, all)
		},
	}
}

func orDot(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// drawn are the entries of a tree below root, with the lines that join them for
// their paths.
func drawn(root string, all []dvc.ListEntry) []dvc.ListEntry {
	out := []dvc.ListEntry{{IsDir: true, Path: root}}
	deep := func(i int) int { return strings.Count(all[i].Path, "/") }
	lead := []string{""} // of what lies at each depth
	for i, x := range all {
		depth, last := deep(i), true
		for j := i + 1; j < len(all) && deep(j) >= depth; j++ {
			if deep(j) == depth {
				last = false
				break
			}
		}
		branch, below := "├── ", "│   "
		if last {
			branch, below = "└── ", "    "
		}
		lead = append(lead[:depth+1], lead[depth]+below)
		x.Path = lead[depth] + branch + path.Base(x.Path)
		out = append(out, x)
	}
	return out
}

func dvcDoctorVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "Look at the health of the repository",
		Description: `   mlopsctl dvc doctor
   mlopsctl dvc doctor -r store
   mlopsctl dvc doctor --fix    remove the locks of programs that have ended

   Exit code 1 if something should be done.`,
		Flags: []cli.Flag{remoteFlag(), &cli.BoolFlag{Name: "fix", Usage: "mend what is safe to mend"}},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			if c.Bool("fix") {
				gone, err := r.ClearLocks(c.Context)
				if err != nil {
					return err
				}
				for _, h := range gone {
					e.note("removed the lock of a program that has ended: %s", h)
				}
			}
			all, err := r.Doctor(c.Context, c.String("remote"))
			if err != nil {
				return err
			}
			type findingJSON struct {
				Check string `json:"check"`
				OK    bool   `json:"ok"`
				Text  string `json:"text"`
				Next  string `json:"next,omitempty"`
			}
			t := newTable("CHECK", "STATE", "FOUND", "NEXT")
			var docs []findingJSON
			wrong := 0
			for _, f := range all {
				state := good("ok")
				if !f.OK {
					state = bad("look")
					wrong++
				}
				t.row(f.Check, state, f.Text, f.Next)
				docs = append(docs, findingJSON(f))
			}
			if err := e.table(t, docs); err != nil || wrong == 0 {
				return err
			}
			return withCode(exitFailed, fmt.Errorf("dvc: %d findings need a look", wrong))
		}),
	}
}
