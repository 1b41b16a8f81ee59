package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/fair"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

func heatCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "heat",
		Usage:       "Show how hot the machine is, or say it by hand",
		Subcommands: []*cli.Command{heatShow(e), heatSet(e), heatClear(e)},
	}
}

// heatJSON is how hot the machine is, by the agent of this home.
type heatJSON struct {
	Level    fair.Level `json:"level"`
	Measured bool       `json:"measured"`
	Reason   string     `json:"reason,omitempty"`
	Max      int        `json:"max"`    // slots of a cool machine
	Budget   int        `json:"budget"` // slots now
	SetLevel fair.Level `json:"set_level,omitempty"`
	SetUntil *time.Time `json:"set_until,omitempty"`
}

func heatShow(e *env) *cli.Command {
	return &cli.Command{
		Name:        "show",
		Usage:       "Tell how hot the machine is, and how many slots of work that leaves",
		Description: "   mlopsctl heat show",
		Action: func(c *cli.Context) error {
			home, err := e.home()
			if err != nil {
				return err
			}
			now := time.Now()
			lease, err := fairfile.ReadLease(home)
			if err != nil {
				return err
			}
			order, err := fairfile.ReadHeat(home)
			if err != nil {
				return err
			}
			doc := heatJSON{Level: fair.LevelNominal, Reason: "no agent reads it; mlopsctl start agent"}
			if lease.Held(now) {
				doc = heatJSON{Level: fair.Level(lease.Heat), Measured: lease.Measured, Reason: lease.Reason, Max: lease.Max, Budget: lease.Budget}
			}
			if order.Holds(now) {
				doc.SetLevel, doc.SetUntil = fair.Level(order.State), &order.Until
			}
			t := newTable("LEVEL", "SLOTS", "OF", "BY")
			t.row(doc.Level, doc.Budget, doc.Max, doc.Reason)
			return e.table(t, doc)
		},
	}
}

func heatSet(e *env) *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "Say how hot the machine is, whatever is measured",
		ArgsUsage: "<level>",
		Description: `   mlopsctl heat set serious --for 1h     half of the slots
   mlopsctl heat set critical --for 10m   nothing new starts

   The levels are nominal, fair, serious and critical. The agent follows within
   seconds; what runs is not ended.`,
		Flags: []cli.Flag{&cli.DurationFlag{Name: "for", Value: time.Hour, Usage: "how long it holds"}},
		Action: func(c *cli.Context) error {
			level := fair.Level(c.Args().First())
			if !level.Valid() {
				return usagef("heat set %s: want nominal, fair, serious or critical", level)
			}
			if c.Duration("for") <= 0 {
				return usagef("--for: want a time above 0, such as 1h")
			}
			home, err := e.home()
			if err != nil {
				return err
			}
			return fairfile.WriteHeat(home, fairfile.HeatOrder{State: string(level), Until: time.Now().Add(c.Duration("for")).UTC()})
		},
	}
}

func heatClear(e *env) *cli.Command {
	return &cli.Command{
		Name:        "clear",
		Usage:       "Let what is measured decide again",
		Description: "   mlopsctl heat clear",
		Action: func(c *cli.Context) error {
			home, err := e.home()
			if err != nil {
				return err
			}
			return fairfile.RemoveHeat(home)
		},
	}
}
