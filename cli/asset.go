package cli

import (
	"encoding/json"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func assetCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "asset",
		Usage:       "List Airflow's assets, say that one has changed",
		Subcommands: []*cli.Command{assetList(e), assetEvent(e)},
	}
}

func assetList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List the data that DAGs make and wait for",
		Description: "   mlopsctl asset list",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			type row struct {
				ID    int64      `json:"id"`
				Name  string     `json:"name"`
				URI   string     `json:"uri"`
				Waits []string   `json:"scheduled_dags"`
				Last  *time.Time `json:"last_event,omitempty"`
			}
			t := newTable("ASSET", "URI", "STARTS", "LAST EVENT")
			t.empty = "no DAG names an asset"
			docs := []row{}
			for a, err := range p.Airflow.Assets.All(c.Context, airflow.AssetQuery{}) {
				if err != nil {
					return err
				}
				r := row{ID: a.ID, Name: a.Name, URI: a.URI, Waits: []string{}}
				for _, d := range a.Waiting {
					r.Waits = append(r.Waits, d.DAGID)
				}
				last := time.Time{}
				if a.LastEvent != nil {
					last = a.LastEvent.Time
				}
				r.Last = present(last)
				t.row(a.Name, a.URI, joined(r.Waits), when(last))
				docs = append(docs, r)
			}
			return e.table(t, docs)
		}),
	}
}

func assetEvent(e *env) *cli.Command {
	return &cli.Command{
		Name:      "event",
		Usage:     "Say that an asset has changed: DAGs that wait for it start",
		ArgsUsage: "<name-or-uri>",
		Description: `   mlopsctl asset event labels
   mlopsctl asset event s3://lora/labels.csv --extra '{"rows": 1200}'`,
		Flags: []cli.Flag{e.dirFlag(), &cli.StringFlag{Name: "extra", Usage: "JSON `object` that is kept with the event"}},
		Action: func(c *cli.Context) error {
			var spec airflow.AssetEventSpec
			if s := c.String("extra"); s != "" {
				if err := json.Unmarshal([]byte(s), &spec.Extra); err != nil {
					return usagef("--extra: %.200q is not a JSON object", s)
				}
			}
			return e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
				asset, err := p.Airflow.Assets.Find(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				event, err := p.Airflow.Assets.CreateEvent(c.Context, asset.ID, spec)
				if err != nil {
					return err
				}
				return e.print(event.ID, map[string]any{"id": event.ID, "asset_id": asset.ID, "name": asset.Name, "uri": asset.URI, "timestamp": event.Time})
			})(c)
		},
	}
}
