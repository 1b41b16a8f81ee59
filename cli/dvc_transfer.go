package cli

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/dvc"
)

func dvcPushVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       "Upload tracked data that the remote does not have",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl " + verb(name) + "\n   mlopsctl " + verb(name) + " data/train.parquet.dvc -r backup",
		Flags:       []cli.Flag{remoteFlag(), jobsFlag(), globFlag()},
		Action: e.transfer("push", "pushed", func(c *cli.Context, r *dvc.Repo, targets []string, m *meter) (dvc.Transfer, error) {
			return r.Push(c.Context, dvc.PushOptions{Remote: c.String("remote"), Targets: targets, Jobs: c.Int("jobs"), Progress: m.report})
		}),
	}
}

func dvcPullVerb(e *env, name string) *cli.Command {
	return &cli.Command{
		Name:        name,
		Usage:       "Download, verify and check out tracked data",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl " + verb(name) + "\n   mlopsctl " + verb(name) + " data --force",
		Flags:       []cli.Flag{remoteFlag(), jobsFlag(), globFlag(), forceFlag("overwrite files that are not in the cache")},
		Action: e.transfer("pull", "pulled", func(c *cli.Context, r *dvc.Repo, targets []string, m *meter) (dvc.Transfer, error) {
			return r.Pull(c.Context, dvc.PullOptions{Remote: c.String("remote"), Targets: targets, Jobs: c.Int("jobs"), Force: c.Bool("force"), Progress: m.report})
		}),
	}
}

func dvcFetchVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:        "fetch",
		Usage:       "Download and verify tracked data into the cache alone",
		ArgsUsage:   "[target...]",
		Description: "   mlopsctl dvc fetch -j 16",
		Flags:       []cli.Flag{remoteFlag(), jobsFlag(), globFlag()},
		Action: e.transfer("fetch", "fetched", func(c *cli.Context, r *dvc.Repo, targets []string, m *meter) (dvc.Transfer, error) {
			return r.Fetch(c.Context, dvc.FetchOptions{Remote: c.String("remote"), Targets: targets, Jobs: c.Int("jobs"), Progress: m.report})
		}),
	}
}

func dvcCheckoutVerb(e *env) *cli.Command {
	return &cli.Command{
		Name:        "checkout",
		Usage:       "Make the workspace hold what the .dvc files say, from the cache",
		ArgsUsage:   "[target...]",
		Description: "   git checkout v1 && mlopsctl dvc checkout",
		Flags:       []cli.Flag{globFlag(), forceFlag("overwrite files that are not in the cache")},
		Action: e.transfer("checkout", "checked out", func(c *cli.Context, r *dvc.Repo, targets []string, _ *meter) (dvc.Transfer, error) {
			return r.Checkout(c.Context, dvc.CheckoutOptions{Targets: targets, Force: c.Bool("force")})
		}),
	}
}

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
		return errors.Join(err, e.print(transferText(t, did), transferJSON(t)))
	})
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
