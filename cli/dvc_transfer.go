package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcPushVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       "Upload tracked data that the remote does not have",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl " + verb(name) + "\n   mlopsctl " + verb(name) + " data/train.parquet.dvc -r backup",
		Flags: append([]cli.Flag{
			remoteFlag(), jobsFlag(), globFlag(), runCacheFlag(), rateFlag(),
			&cli.BoolFlag{Name: "check-children", Usage: "look for each file also where the remote has the listing of its directory"},
		}, scopeFlags()...),
		Action: e.transfer("push", "pushed", func(c *cli.Context, r *dvc.Repo, targets []string, m *meter) (dvc.Transfer, error) {
			return r.Push(c.Context, dvc.PushOptions{
				Remote: c.String("remote"), Targets: targets, Scope: scope(c), Transfers: dvc.Transfers{Jobs: c.Int("jobs"), Rate: rate(c), Progress: m.report},
				RunCache: c.Bool("run-cache"), CheckChildren: c.Bool("check-children"),
			})
		}),
	}
}

func dvcPullVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       "Download, verify and check out tracked data",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl " + verb(name) + "\n   mlopsctl " + verb(name) + " data --force",
		Flags: append([]cli.Flag{
			remoteFlag(), jobsFlag(), globFlag(), runCacheFlag(), rateFlag(), allowMissingFlag(), forceFlag("overwrite files that are not in the cache"),
		}, scopeFlags()...),
		Action: e.transfer("pull", "pulled", func(c *cli.Context, r *dvc.Repo, targets []string, m *meter) (dvc.Transfer, error) {
			return r.Pull(c.Context, dvc.PullOptions{
				Remote: c.String("remote"), Targets: targets, Scope: scope(c), Transfers: dvc.Transfers{Jobs: c.Int("jobs"), Rate: rate(c), Progress: m.report}, RunCache: c.Bool("run-cache"),
				AllowMissing: c.Bool("allow-missing"), Force: c.Bool("force"),
			})
		}),
	}
}

func dvcFetchVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:        "fetch",
		Usage:       "Download and verify tracked data into the cache alone",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl dvc fetch -j 16",
		Flags: append([]cli.Flag{
			remoteFlag(), jobsFlag(), globFlag(), runCacheFlag(), rateFlag(),
			&cli.Int64Flag{Name: "max-size", Usage: "leave out data of that many `bytes` and more"},
			&cli.StringSliceFlag{Name: "type", Usage: "data of a `kind` alone: metrics or plots"},
		}, scopeFlags()...),
		Action: e.transfer("fetch", "fetched", func(c *cli.Context, r *dvc.Repo, targets []string, m *meter) (dvc.Transfer, error) {
			var types []dvc.OutputType
			for _, t := range c.StringSlice("type") {
				types = append(types, dvc.OutputType(t))
			}
			return r.Fetch(c.Context, dvc.FetchOptions{
				Remote: c.String("remote"), Targets: targets, Scope: scope(c), Transfers: dvc.Transfers{Jobs: c.Int("jobs"), Rate: rate(c), Progress: m.report},
				RunCache: c.Bool("run-cache"), MaxSize: c.Int64("max-size"), Types: types,
			})
		}),
	}
}

func dvcCheckoutVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:        "checkout",
		Usage:       "Make the workspace hold what the .dvc files say, from the cache",
		ArgsUsage:   "[target...]",
		Description: "   git checkout v1 && mlopsctl dvc checkout",
		Flags: append([]cli.Flag{
			globFlag(), allowMissingFlag(), forceFlag("overwrite files that are not in the cache"),
			&cli.BoolFlag{Name: "relink", Usage: "replace what is in place, too, as cache.type says now"},
			&cli.BoolFlag{Name: "summary", Usage: "only count what changed"},
		}, scopeFlags()[:2]...),
		Action: e.transfer("checkout", "checked out", func(c *cli.Context, r *dvc.Repo, targets []string, _ *meter) (dvc.Transfer, error) {
			return r.Checkout(c.Context, dvc.CheckoutOptions{
				Targets: targets, Scope: scope(c), Force: c.Bool("force"), Relink: c.Bool("relink"), AllowMissing: c.Bool("allow-missing"),
			})
		}),
	}
}

// scopeFlags are dvc's flags for what belongs to a call beside its targets:
// first those about the workspace, then those about other commits.
func scopeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "with-deps", Aliases: []string{"d"}, Usage: "also what makes the inputs of the stages that are named"},
		&cli.BoolFlag{Name: "recursive", Aliases: []string{"R"}, Usage: "a directory stands for the .dvc files and stages in it"},
		&cli.BoolFlag{Name: "all-branches", Aliases: []string{"a"}, Usage: "also at the tips of branches"},
		&cli.BoolFlag{Name: "all-tags", Aliases: []string{"T"}, Usage: "also at tags"},
		&cli.BoolFlag{Name: "all-commits", Aliases: []string{"A"}, Usage: "also at all commits"},
	}
}

func scope(c *cli.Context) dvc.Scope {
	return dvc.Scope{
		Recursive: c.Bool("recursive"), WithDeps: c.Bool("with-deps"),
		AllBranches: c.Bool("all-branches"), AllTags: c.Bool("all-tags"), AllCommits: c.Bool("all-commits"),
	}
}

func runCacheFlag() cli.Flag {
	return &cli.BoolFlag{Name: "run-cache", Usage: "the records of what stages made of what, too"}
}

func allowMissingFlag() cli.Flag {
	return &cli.BoolFlag{Name: "allow-missing", Usage: "leave out data that is not there whole"}
}

func rateFlag() cli.Flag {
	return &cli.Int64Flag{Name: "rate", Usage: "at most that many `KiB` a second to or from each remote"}
}

func rate(c *cli.Context) int64 { return max(0, c.Int64("rate")) << 10 }

// transfer makes the action of a verb that moves objects. What was done before
// an error is told, too.
func (e *env) transfer(verb, did string, do func(*cli.Context, *dvc.Repo, []string, *meter) (dvc.Transfer, error)) cli.ActionFunc {
	return e.inRepo(func(c *cli.Context, r *dvc.Repo) error {
		targets, err := operands(c)
		if err != nil {
			return err
		}
		m := e.meter(verb)
		t, err := do(c, r, targets, m)
		m.done()
		if err != nil && t.Objects+len(t.Added)+len(t.Modified) == 0 {
			return err
		}
		text := transferText(t, did)
		if verb == "checkout" && !c.Bool("summary") {
			text = changesText(t)
		}
		return errors.Join(err, e.print(text, transferJSON(t)))
	})
}

// changesText lists what a checkout changed, as dvc does.
func changesText(t dvc.Transfer) string {
	var lines []string
	for _, p := range t.Modified {
		lines = append(lines, "M\t"+p)
	}
	for _, p := range t.Added {
		lines = append(lines, "A\t"+p)
	}
	if len(lines) == 0 {
		return "everything is up to date"
	}
	return strings.Join(lines, "\n")
}

func transferText(t dvc.Transfer, did string) string {
	changed := len(t.Added) + len(t.Modified)
	switch {
	case t.Objects+changed == 0:
		return "everything is up to date"
	case t.Objects == 0:
		return fmt.Sprintf("%d added and %d modified in the workspace", len(t.Added), len(t.Modified))
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
