package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/client/lineage"
)

const things = `   A thing is a run's ID, model/version, model@alias, a deployment or its URL, a path
   that DVC tracks, a hash of DVC, a commit, dag/run, or the ID of a drift snapshot.`

func lineageCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "lineage",
		Usage:     "Show where a thing came from, and where it is used",
		ArgsUsage: "<thing>",
		Description: `   mlopsctl lineage sentiment@champion
   mlopsctl lineage data/train.csv --dot | dot -Tsvg > lineage.svg

` + things + ` It is found on the servers
   alone; what none of them says is listed as a gap.`,
		Flags: []cli.Flag{e.dirFlag(), &cli.BoolFlag{Name: "dot", Usage: "print it in Graphviz' language"}},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			return e.traced(c, p, lineage.Options{})
		}),
	}
}

func whoUsesCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "who-uses",
		Usage:     "Show what came from a thing: runs, models, deployments, drift",
		ArgsUsage: "<thing>",
		Description: `   mlopsctl who-uses data/train.csv
   mlopsctl who-uses sentiment/3

` + things,
		Flags: []cli.Flag{e.dirFlag(), &cli.BoolFlag{Name: "dot", Usage: "print it in Graphviz' language"}},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			return e.traced(c, p, lineage.Options{Forward: true})
		}),
	}
}

// traced prints the lineage of the thing that the command line names.
func (e *env) traced(c *cli.Context, p *client.Client, o lineage.Options) error {
	g, err := lineage.Trace(c.Context, p, c.Args().First(), o)
	if err != nil {
		return err
	}
	if c.Bool("dot") {
		return g.WriteDOT(e.stdout)
	}
	from := map[string][]string{}
	for _, edge := range g.Edges {
		n, _ := g.Node(edge.From)
		if text := shortRef(n); !slices.Contains(from[edge.To], text) {
			from[edge.To] = append(from[edge.To], text)
		}
	}
	t := newTable("KIND", "NAME", "WHAT", "FROM")
	for _, n := range g.Nodes {
		what := cell{value: factsOf(n)}
		if n.Gone {
			what = warn("gone")
		}
		t.row(n.Kind, n.Name, what, joined(from[n.Ref()]))
	}
	if err := e.table(t, g); err != nil {
		return err
	}
	for _, gap := range g.Gaps {
		e.note("%s: %s", gap.Node, gap.Missing)
	}
	if g.Cut {
		e.note("there is more; these are the nearest %d", len(g.Nodes))
	}
	return nil
}

// shortRef is a node in a few letters.
func shortRef(n lineage.Node) string {
	switch n.Kind {
	case lineage.KindCommit, lineage.KindData, lineage.KindRun:
		return string(n.Kind) + " " + n.Name[:min(len(n.Name), 8)]
	case lineage.KindModel:
		return n.Name[:min(len(n.Name), 10)]
	}
	return n.Name
}

// factsOf is what people want to know of a node first.
func factsOf(n lineage.Node) string {
	var out []string
	for _, key := range []string{"path", "name", "command", "status", "state", "project", "branch"} {
		if v := n.Facts[key]; v != "" {
			out = append(out, v)
		}
	}
	return strings.Join(out, ", ")
}

// whyJSON is what stands behind an address.
type whyJSON struct {
	Deployment string        `json:"deployment"`
	URL        string        `json:"url"`
	Status     string        `json:"status"`
	Project    string        `json:"project,omitempty"`
	Model      string        `json:"model,omitempty"`
	Alias      string        `json:"alias,omitempty"` // by which it was deployed
	Aliases    []string      `json:"aliases"`         // of the version, now
	Run        string        `json:"run_id,omitempty"`
	RunName    string        `json:"run_name,omitempty"`
	RunURL     string        `json:"run_url,omitempty"`
	User       string        `json:"user,omitempty"`
	Trained    *time.Time    `json:"trained,omitempty"`
	Command    string        `json:"command,omitempty"`
	DAGRun     string        `json:"dag_run,omitempty"`
	Commit     string        `json:"commit,omitempty"`
	Repository string        `json:"repository,omitempty"`
	Data       []whyData     `json:"data"`
	Drift      []whyDrift    `json:"drift"` // the latest first
	Gaps       []lineage.Gap `json:"gaps"`
}

type whyData struct {
	Path string `json:"path,omitempty"`
	MD5  string `json:"md5"`
}

type whyDrift struct {
	Snapshot string    `json:"snapshot_id"`
	Time     time.Time `json:"time"`
}

func whyCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "Tell what answers at an address, and what it was made of",
		ArgsUsage: "<deployment|URL>",
		Description: `   mlopsctl why http://127.0.0.1:8001/breast-cancer/classifier
   mlopsctl why breast-cancer.classifier`,
		Flags: []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			g, err := lineage.Trace(c.Context, p, c.Args().First(), lineage.Options{})
			if err != nil {
				return err
			}
			at, ok := g.Node(g.Start)
			if !ok || at.Kind != lineage.KindDeployment {
				return &mlops.Error{Kind: mlops.ErrInvalid, Message: g.Start + " is no deployment; mlopsctl lineage shows any thing"}
			}
			return e.because(whyOf(g, at))
		}),
	}
}

func whyOf(g lineage.Graph, at lineage.Node) whyJSON {
	w := whyJSON{Deployment: at.Name, URL: at.URL, Status: at.Facts["status"], Project: at.Facts["project"], Alias: at.Facts["alias"], Aliases: []string{}, Data: []whyData{}, Drift: []whyDrift{}, Gaps: g.Gaps}
	for _, n := range g.Nodes {
		switch n.Kind {
		case lineage.KindVersion:
			w.Model = n.Name
		case lineage.KindRun:
			w.Run, w.RunName, w.RunURL, w.User, w.Command = n.Name, n.Facts["name"], n.URL, n.Facts["user"], n.Facts["command"]
			w.Trained = present(n.Time)
		case lineage.KindDAGRun:
			w.DAGRun = n.Name
		case lineage.KindCommit:
			w.Commit, w.Repository = n.Name, n.Facts["repository"]
		case lineage.KindData:
			w.Data = append(w.Data, whyData{n.Facts["path"], n.Name})
		case lineage.KindAlias:
			w.Aliases = append(w.Aliases, n.Name)
		case lineage.KindDrift:
			w.Drift = append(w.Drift, whyDrift{n.Name, n.Time})
		}
	}
	slices.Reverse(w.Drift)
	return w
}

// because prints the answer, a line for each thing that is known.
func (e *env) because(w whyJSON) error {
	t := newTable("WHAT", "WHICH")
	row := func(what, which string) {
		if which != "" {
			t.row(what, which)
		}
	}
	row("deployment", w.Deployment+" "+w.Status)
	row("url", w.URL)
	row("project", w.Project)
	row("model", w.Model)
	row("deployed by alias", w.Alias)
	row("its aliases now", strings.Join(w.Aliases, ", "))
	row("run", strings.TrimSpace(w.Run+" "+w.RunName))
	if w.Trained != nil {
		row("trained", w.Trained.Local().Format(time.RFC3339)+" by "+cmp.Or(w.User, "an unknown user"))
	}
	row("command", w.Command)
	row("DAG run", w.DAGRun)
	row("commit", strings.TrimSpace(w.Commit+" "+w.Repository))
	for _, d := range w.Data {
		row("data", strings.TrimSpace(d.MD5+" "+d.Path))
	}
	if len(w.Drift) > 0 {
		row("drift checks", fmt.Sprintf("%d, the last %s", len(w.Drift), w.Drift[0].Time.Local().Format(time.RFC3339)))
	}
	if err := e.table(t, w); err != nil {
		return err
	}
	for _, gap := range w.Gaps {
		e.note("%s: %s", gap.Node, gap.Missing)
	}
	return nil
}
