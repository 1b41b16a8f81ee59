package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

func fairCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "fair",
		Usage:       "Show and set how the machine is divided among projects",
		Subcommands: []*cli.Command{fairStatus(e), fairSlots(e), fairEnergy(e), fairSimulate(e)},
	}
}

func fairStatus(e *env) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "Tell what each project has of the machine, and what it waits for",
		Description: `   mlopsctl fair status

   DUE is the project's share of the slots, which it has on average while it has
   work. WAITING are slots that ready tasks wait for; WHY is a turn (with how much
   starts before), heat, energy, memory or quota.`,
		Flags: []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			restored, err := p.RestoreShares(c.Context)
			if err != nil {
				return err
			}
			s, err := p.Shares(c.Context)
			if err != nil {
				return err
			}
			switch {
			case s.Leads:
				e.note("%d of %d slots are taken, the machine has %d; heat: %s", s.Taken, s.Budget, s.Max, heatText(s.Heat, s.Measured, s.Reason))
				e.note("energy today: %s", energyText(*s.Energy))
			case s.Expired:
				e.note("the agent is dead since %s; pools that have their base again: %d; mlopsctl start agent", s.Expires.Add(-fairfile.LeaseTime).Local().Format(time.TimeOnly), len(restored))
			default:
				e.note("no agent divides this machine; mlopsctl start agent")
			}
			t := newTable("PROJECT", "RUNNING", "WAITING", "SLOTS", "DUE", "WHY", "SINCE")
			t.empty = "no project has a pool yet"
			for _, s := range s.Projects {
				t.row(s.Project, s.Running, s.Waiting, s.Slots, strconv.FormatFloat(s.Due, 'f', 1, 64), whyText(s), sinceText(s.Since))
			}
			return e.table(t, s)
		}),
	}
}

func heatText(level string, measured bool, reason string) string {
	if !measured {
		return level + " (" + reason + ")"
	}
	return level + ", " + reason
}

func energyText(en client.Energy) string {
	used, how := fmt.Sprintf("%.0f Wh", en.WattHours), ""
	if en.Limit > 0 {
		used = fmt.Sprintf("%.0f of %g Wh", en.WattHours, en.Limit)
	}
	if en.Estimated {
		how = " (estimated by the slots at work)"
	}
	return fmt.Sprintf("%s, %.0f W now%s", used, en.Watts, how)
}

func whyText(s client.Share) string {
	switch {
	case s.Edited:
		return "set by hand"
	case s.Cause == "turn" && s.Before > 0:
		return fmt.Sprintf("turn, %d before", s.Before)
	}
	return s.Cause
}

func sinceText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return time.Since(t).Round(time.Second).String()
}

func fairSlots(e *env) *cli.Command {
	return &cli.Command{
		Name:      "slots",
		Usage:     "Show or set how many slots of work this machine has when it is cool",
		ArgsUsage: "[number]",
		Description: `   mlopsctl fair slots            how many there are
   mlopsctl fair slots 6
   mlopsctl fair slots default    as many as cores, at least 2 and at most 8

   A running agent follows at once, Airflow's executor at its next start.`,
		Action: func(c *cli.Context) error {
			home, err := e.home()
			if err != nil {
				return err
			}
			if word := c.Args().First(); word != "" {
				n := 0
				if word != "default" {
					if n, err = strconv.Atoi(word); err != nil || n < 1 || n > 1000 {
						return usagef("fair slots %s: want a number from 1 to 1000, or default", word)
					}
				}
				before, err := fairfile.Slots(home)
				if err != nil {
					return err
				}
				if err := fairfile.WriteSlots(home, n); err != nil {
					return err
				}
				if after, err := fairfile.Slots(home); err == nil && after > before {
					e.note("Airflow's executor runs up to %d tasks until: mlopsctl restart airflow", fairfile.Parallelism(before))
				}
			}
			n, err := fairfile.Slots(home)
			if err != nil {
				return err
			}
			return e.print(n, map[string]int{"slots": n})
		},
	}
}

func fairEnergy(e *env) *cli.Command {
	return &cli.Command{
		Name:      "energy",
		Usage:     "Show or set how much energy a day this machine may use",
		ArgsUsage: "[watt-hours]",
		Description: `   mlopsctl fair energy          the limit
   mlopsctl fair energy 500
   mlopsctl fair energy none

   A running agent follows at once: the budget of slots falls as the day's energy
   is used up, to none at its end. Where nothing measures the power, 10 W are
   counted for each slot at work.`,
		Action: func(c *cli.Context) error {
			home, err := e.home()
			if err != nil {
				return err
			}
			if word := c.Args().First(); word != "" {
				wh := 0.0
				if word != "none" {
					if wh, err = strconv.ParseFloat(word, 64); err != nil || !(wh > 0) || wh > 1e9 {
						return usagef("fair energy %s: want watt-hours above 0, or none", word)
					}
				}
				if err := fairfile.WriteWattHours(home, wh); err != nil {
					return err
				}
			}
			wh, err := fairfile.WattHours(home)
			if err != nil {
				return err
			}
			text := "none"
			if wh > 0 {
				text = strconv.FormatFloat(wh, 'g', -1, 64)
			}
			return e.print(text, map[string]float64{"watt_hours": wh})
		},
	}
}
