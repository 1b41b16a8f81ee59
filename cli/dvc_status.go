package cli

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcStatusVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "Compare the workspace with the .dvc files, or the cache with a remote",
		ArgsUsage: "[target...]",
		Description: `   mlopsctl dvc status
   mlopsctl dvc status -c --json
   mlopsctl dvc status -q || echo changed

   With -q nothing is printed, and the exit code is 1 if something changed.`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "cloud", Aliases: []string{"c"}, Usage: "compare the cache with the remote"},
			&cli.BoolFlag{Name: "no-updates", Usage: "do not ask the repositories that data was imported from"},
			remoteFlag(), jobsFlag(),
		}, scopeFlags()...),
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			s, err := r.Status(c.Context, dvc.StatusOptions{
				Cloud: c.Bool("cloud"), Remote: c.String("remote"), Targets: c.Args().Slice(), Scope: scope(c), Jobs: c.Int("jobs"),
				NoUpdates: c.Bool("no-updates"),
			})
			switch {
			case err != nil:
				return err
			case e.quiet && !s.Clean():
				return withCode(exitFailed, nil)
			case e.quiet:
				return nil
			}
			t := newTable("STATE", "PATH", "DVC FILE")
			t.empty = "data is up to date"
			for _, ch := range s.Changes {
				t.row(stateCell(ch.State), ch.Path, ch.DVCFile)
			}
			return e.table(t, s)
		}),
	}
}

// stateCell colours a state: what is lost red, what differs yellow.
func stateCell(state dvc.ChangeState) cell {
	switch state {
	case dvc.ChangeNotInCache, dvc.ChangeMissing:
		return bad(state)
	case dvc.ChangeNew:
		return good(state)
	}
	return warn(state)
}

// dvcDataVerb holds data status, which is also data-status.
func dvcDataVerb(e *env) *cli.Command {
	return &cli.Command{Name: "data", Usage: "Tell how tracked data stands", Subcommands: []*cli.Command{dvcDataStatusVerb(e, "status")}}
}

func dvcDataStatusVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:      name,
		Usage:     "Compare the last commit, the .dvc files and the workspace",
		ArgsUsage: "[target...]",
		Description: `   mlopsctl dvc data status --granular
   mlopsctl dvc data status --json --unchanged --untracked-files`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "granular", Usage: "tell of the files in directories"},
			&cli.BoolFlag{Name: "unchanged", Usage: "list what has not changed, too"},
			&optionalFlag{&cli.StringFlag{Name: "untracked-files", Value: "no", Usage: "list what neither git nor DVC tracks: `no|all`; all without a value"}, "all"},
			&cli.BoolFlag{Name: "not-in-remote", Usage: "ask the remote what it lacks"},
			remoteFlag(),
		},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			if u := c.String("untracked-files"); u != "no" && u != "all" {
				return usagef("--untracked-files=%s: want no or all", u)
			}
			s, err := r.DataStatus(c.Context, dvc.DataStatusOptions{
				Targets: c.Args().Slice(), Granular: c.Bool("granular"), Unchanged: c.Bool("unchanged"),
				Untracked: c.String("untracked-files") == "all", NotInRemote: c.Bool("not-in-remote"), Remote: c.String("remote"),
			})
			if err != nil {
				return err
			}
			t := newTable("", "STATE", "PATH")
			t.empty = "no changes"
			rows := func(group string, state func(any) cell, word string, paths []string) {
				for _, p := range paths {
					t.row(group, state(word), p)
				}
			}
			rows("cache", bad, string(dvc.ChangeNotInCache), s.NotInCache)
			rows("remote", bad, "not in remote", s.NotInRemote)
			for _, g := range []struct {
				name  string
				state func(any) cell
				dvc.DataChanges
			}{{"committed", good, s.Committed}, {"uncommitted", warn, s.Uncommitted}} {
				rows(g.name, g.state, "added", g.Added)
				rows(g.name, g.state, string(dvc.ChangeModified), g.Modified)
				rows(g.name, g.state, string(dvc.ChangeDeleted), g.Deleted)
				for _, n := range g.Renamed {
					t.row(g.name, g.state("renamed"), n.Old+" -> "+n.New)
				}
				rows(g.name, g.state, "unknown", g.Unknown)
			}
			rows("git", faint, "untracked", s.Untracked)
			rows("", faint, "unchanged", s.Unchanged)
			return e.table(t, s)
		}),
	}
}

func dvcDiffVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "Compare data between two commits, or a commit and the workspace",
		ArgsUsage: "[a_rev] [b_rev]",
		Description: `   mlopsctl dvc diff                    HEAD and the workspace
   mlopsctl dvc diff v1 v2 --json
   mlopsctl dvc diff --targets data/train.csv models`,
		Flags: []cli.Flag{
			&listFlag{&cli.StringSliceFlag{Name: "targets", Usage: "only these `paths`"}},
			&cli.BoolFlag{Name: "show-hash", Usage: "tell hashes, too"},
			&cli.BoolFlag{Name: "hide-missing", Usage: "do not tell what the cache lacks"},
			&cli.BoolFlag{Name: "md", Usage: "a Markdown table"},
		},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			d, err := r.Diff(c.Context, dvc.DiffOptions{
				From: c.Args().Get(0), To: c.Args().Get(1), Targets: c.StringSlice("targets"),
				HideMissing: c.Bool("hide-missing"), Hashes: c.Bool("show-hash"),
			})
			if err != nil {
				return err
			}
			return e.diff(c, d)
		}),
	}
}

func (e *env) diff(c *cli.Context, d dvc.Diff) error {
	header := []string{"STATE", "PATH"}
	if c.Bool("show-hash") {
		header = []string{"STATE", "HASH", "PATH"}
	}
	t := newTable(header...)
	t.empty = "no differences"
	var md strings.Builder
	rows := func(state cell, list []dvc.DiffEntry) {
		for _, x := range list {
			path, hash := x.Path, first8(x.Hash)
			if x.OldPath != "" {
				path = x.OldPath + " -> " + x.Path
			}
			if x.OldHash != "" {
				hash = first8(x.OldHash) + ".." + hash
			}
			cells := []any{state, path}
			if c.Bool("show-hash") {
				cells = []any{state, hash, path}
			}
			t.row(cells...)
			for _, v := range cells {
				if s, ok := v.(cell); ok {
					v = s.text()
				}
				md.WriteString("| " + strings.ReplaceAll(v.(string), "|", "\\|") + " ")
			}
			md.WriteString("|\n")
		}
	}
	rows(good("added"), d.Added)
	rows(bad("deleted"), d.Deleted)
	rows(good("renamed"), d.Renamed)
	rows(warn("modified"), d.Modified)
	rows(bad("not in cache"), d.NotInCache)
	if !c.Bool("md") || e.json {
		return e.table(t, d)
	}
	head := "| Status | Path |\n|--------|------|\n"
	if c.Bool("show-hash") {
		head = "| Status | Hash | Path |\n|--------|------|------|\n"
	}
	return e.print(strings.TrimSuffix(head+md.String(), "\n"), d)
}

func first8(hash string) string { return hash[:min(8, len(hash))] }
