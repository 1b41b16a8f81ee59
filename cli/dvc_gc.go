package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcGCVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "Move data that nothing in a scope needs out of the cache",
		Description: `   mlopsctl dvc gc -w -a -T          tell what could go
   mlopsctl dvc gc -w -a -T --yes    move it into the cache's trash
   mlopsctl dvc gc --restore         put all of it back
   mlopsctl dvc gc --empty-trash     delete what has been there a week

   Without --yes (or -f) it only tells. A cache outside of .dvc may serve other
   repositories: name them with -p. With -c a remote's objects are deleted at once,
   also those of branches that this clone does not have.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "workspace", Aliases: []string{"w"}, Usage: "keep what the workspace needs"},
			&cli.StringSliceFlag{Name: "rev", Usage: "keep what this `commit` needs, too"},
			&cli.IntFlag{Name: "num", Aliases: []string{"n"}, Usage: "how `many` commits of each --rev and branch"},
			&cli.BoolFlag{Name: "all-branches", Aliases: []string{"a"}, Usage: "keep what the tips of branches need, too"},
			&cli.BoolFlag{Name: "all-tags", Aliases: []string{"T"}, Usage: "keep what tags need, too"},
			&cli.BoolFlag{Name: "all-commits", Aliases: []string{"A"}, Usage: "keep what any commit needs"},
			&cli.BoolFlag{Name: "all-experiments", Usage: "keep what experiments need, too"},
			&cli.TimestampFlag{Name: "date", Layout: "2006-01-02", Usage: "keep what commits of this `day` (yyyy-mm-dd) and later need"},
			&listFlag{&cli.StringSliceFlag{Name: "projects", Aliases: []string{"p"}, Usage: "`folders` of the other repositories that share the cache"}},
			&cli.BoolFlag{Name: "cloud", Aliases: []string{"c"}, Usage: "in the remote, too"},
			remoteFlag(), jobsFlag(),
			&cli.BoolFlag{Name: "not-in-remote", Usage: "of what is needed keep only what the remote does not have"},
			&cli.BoolFlag{Name: "skip-failed", Usage: "pass over commits whose .dvc files cannot be read, and keep nothing for them"},
			&cli.BoolFlag{Name: "yes", Aliases: []string{"force", "f"}, Usage: "act"},
			&cli.BoolFlag{Name: "dry", Usage: "only tell, whatever else is given"},
			&cli.DurationFlag{Name: "grace", Value: dvc.DefaultGrace, Usage: "how `long` the trash keeps objects"},
			&cli.BoolFlag{Name: "empty-trash", Usage: "delete what the trash has kept for its grace"},
			&cli.BoolFlag{Name: "restore", Usage: "put all in the trash back into the cache"},
		},
		Action: e.inRepo(e.gc),
	}
}

func (e *env) gc(c *cli.Context, r *dvc.Repo) error {
	switch empty, restore := c.Bool("empty-trash"), c.Bool("restore"); {
	case empty && restore:
		return usagef("only one of --empty-trash and --restore")
	case empty:
		t, err := r.EmptyTrash(c.Context, c.Duration("grace"))
		return errors.Join(err, e.trashed("deleted", t))
	case restore:
		t, err := r.RestoreTrash(c.Context)
		return errors.Join(err, e.trashed("restored", t))
	}
	switch cloud, keep := c.Bool("cloud"), c.Bool("not-in-remote"); {
	case cloud && keep:
		return usagef("only one of --cloud and --not-in-remote")
	case c.String("remote") != "" && !cloud && !keep:
		return usagef("--remote goes with --cloud or --not-in-remote")
	}
	m := e.meter("gc")
	o := dvc.GCOptions{
		Workspace: c.Bool("workspace"), Revs: c.StringSlice("rev"), Num: c.Int("num"),
		AllBranches: c.Bool("all-branches"), AllTags: c.Bool("all-tags"), AllCommits: c.Bool("all-commits"), AllExperiments: c.Bool("all-experiments"),
		Projects: c.StringSlice("projects"), Cloud: c.Bool("cloud"), Remote: c.String("remote"),
		NotInRemote: c.Bool("not-in-remote"), SkipFailed: c.Bool("skip-failed"),
		Yes: c.Bool("yes") && !c.Bool("dry"), Grace: c.Duration("grace"), Progress: m.report,
	}
	if d := c.Timestamp("date"); d != nil {
		o.Since = *d
	}
	g, err := r.GC(c.Context, o)
	m.done()
	if err != nil {
		return err
	}
	return e.print(gcText(g, o.Yes), gcDoc(g, !o.Yes))
}

func (e *env) trashed(did string, t dvc.Trash) error {
	return e.print(fmt.Sprintf("%d objects %s, %s", t.Objects, did, sizeText(t.SizeBytes)), map[string]any{"objects": t.Objects, "bytes": t.SizeBytes})
}

type garbageJSON struct {
	Objects int      `json:"objects"`
	Bytes   int64    `json:"bytes"`
	Hashes  []string `json:"hashes"`
}

type gcJSON struct {
	Dry     bool                    `json:"dry"`
	Cache   map[string]*garbageJSON `json:"cache"` // by kind of hash
	Remote  map[string]*garbageJSON `json:"remote,omitempty"`
	Trash   string                  `json:"trash,omitempty"`
	Emptied int                     `json:"emptied,omitempty"` // objects deleted from the trash
	Temp    int                     `json:"temp,omitempty"`    // temporary files of killed programs
}

func gcDoc(g dvc.GC, dry bool) gcJSON {
	return gcJSON{dry, byKind(g.Cache), byKind(g.Remote), g.Trash, g.Emptied.Objects, g.Temp.Objects}
}

func byKind(all []dvc.Garbage) map[string]*garbageJSON {
	out := map[string]*garbageJSON{}
	for _, g := range all {
		k := out[g.Kind]
		if k == nil {
			k = &garbageJSON{}
			out[g.Kind] = k
		}
		k.Objects, k.Bytes, k.Hashes = k.Objects+1, k.Bytes+g.SizeBytes, append(k.Hashes, g.Hash)
	}
	return out
}

func gcText(g dvc.GC, acted bool) string {
	var lines []string
	say := func(all []dvc.Garbage, could, did string) {
		kinds := byKind(all)
		for _, kind := range []string{"md5", "md5-dos2unix"} {
			if k := kinds[kind]; k != nil {
				what := could
				if acted {
					what = did
				}
				lines = append(lines, fmt.Sprintf("%d %s objects, %s, %s", k.Objects, kind, sizeText(k.Bytes), what))
			}
		}
	}
	say(g.Cache, "could leave the cache", "moved to "+g.Trash)
	say(g.Remote, "could be deleted from the remote", "deleted from the remote")
	if g.Emptied.Objects > 0 {
		lines = append(lines, fmt.Sprintf("%d objects past their grace deleted from the trash, %s", g.Emptied.Objects, sizeText(g.Emptied.SizeBytes)))
	}
	if g.Temp.Objects > 0 {
		did := "could be deleted"
		if acted {
			did = "deleted"
		}
		lines = append(lines, fmt.Sprintf("%d temporary files of killed programs, %s, %s", g.Temp.Objects, sizeText(g.Temp.SizeBytes), did))
	}
	if len(lines) == 0 {
		return "nothing to collect"
	}
	if !acted {
		lines = append(lines, "add --yes to act")
	}
	return strings.Join(lines, "\n")
}

func dvcVerifyVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "Read the cache, or a remote too, and name what is damaged",
		Description: `   mlopsctl dvc verify
   mlopsctl dvc verify --remote store

   Every object in the cache is hashed; of a remote those that the .dvc files need.
   Exit code 1 if something is damaged.`,
		Flags: []cli.Flag{&cli.BoolFlag{Name: "cloud", Aliases: []string{"c"}, Usage: "read the remote, too"}, remoteFlag(), jobsFlag()},
		Action: e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
			m := e.meter("verify")
			v, err := r.Verify(c.Context, dvc.VerifyOptions{Cloud: c.Bool("cloud"), Remote: c.String("remote"), Jobs: c.Int("jobs"), Progress: m.report})
			m.done()
			if err != nil {
				return err
			}
			type damageJSON struct {
				Hash   string   `json:"md5"`
				Where  string   `json:"where"`
				Reason string   `json:"reason"`
				Data   []string `json:"data"`
			}
			doc := struct {
				Objects int          `json:"objects"`
				Bytes   int64        `json:"bytes"`
				Damaged []damageJSON `json:"damaged"`
			}{v.Objects, v.SizeBytes, []damageJSON{}}
			t := newTable("MD5", "WHERE", "DAMAGE", "DATA")
			for _, d := range v.Damaged {
				data := strings.Join(d.Data, ", ")
				if data == "" {
					data = "(none that is tracked here)"
				}
				t.row(d.Hash, d.Where, bad(d.Reason), data)
				doc.Damaged = append(doc.Damaged, damageJSON(d))
			}
			if v.OK() {
				return e.print(fmt.Sprintf("%d objects are right, %s", v.Objects, sizeText(v.SizeBytes)), doc)
			}
			if err := e.table(t, doc); err != nil {
				return err
			}
			return withCode(exitFailed, fmt.Errorf("dvc: %d of %d objects are damaged; remove those in the cache and fetch again", len(v.Damaged), v.Objects))
		}),
	}
}
