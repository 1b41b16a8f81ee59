package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/fair/sim"
)

func fairSimulate(e *env) *cli.Command {
	return &cli.Command{
		Name:      "simulate",
		Usage:     "Play the division of a machine against simulated work, and check it",
		ArgsUsage: "[trace]",
		Description: `   mlopsctl fair simulate --seed 7
   mlopsctl fair simulate --projects 14 --tasks 2000 --slots 4
   mlopsctl fair simulate looks.ndjson       decides a trace again

   The same seed gives the same result. After each event it is checked that no more
   runs than the budget, that no slot is idle beside a task that could start, that
   no project is further ahead than by what it had at once and a quantum, that
   quotas are exact, and that each wait ends; it exits with 1 if one of that fails.
   LEAD and WAIT are the worst that was seen, as parts of what is allowed.`,
		Flags: []cli.Flag{
			&cli.Uint64Flag{Name: "seed", Usage: "of what is drawn"},
			&cli.IntFlag{Name: "projects", Value: 1000, Usage: "how many"},
			&cli.IntFlag{Name: "tasks", Value: 100_000, Usage: "how many, of all projects"},
			&cli.IntFlag{Name: "slots", Value: 64, Usage: "of the machine when it is cool"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("one trace at a time")
			}
			if c.NArg() == 1 {
				return replay(e, c.Args().First())
			}
			for _, name := range []string{"projects", "tasks", "slots"} {
				if c.Int(name) < 1 {
					return usagef("--%s: want a number above 0", name)
				}
			}
			r := sim.Run(sim.Config{Seed: c.Uint64("seed"), Projects: c.Int("projects"), Tasks: c.Int("tasks"), Budget: c.Int("slots")})
			t := newTable("SEED", "TASKS", "DECISIONS", "TIME", "BUSY", "LEAD", "WAIT", "HEAT", "LOST", "DEATHS", "QUOTAS")
			t.row(r.Seed, r.Tasks, r.Decisions, r.Long.Round(time.Second), percent(100*r.Busy), percent(100*r.Lead), percent(100*r.Wait), r.Budgets, r.Lost, r.Deaths, r.Quotas)
			if err := e.table(t, r); err != nil {
				return err
			}
			if len(r.Faults) > 0 {
				return fmt.Errorf("seed %d: %s", r.Seed, strings.Join(r.Faults, "; "))
			}
			return nil
		},
	}
}

// replay decides the looks of a trace again.
func replay(e *env, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := sim.Replay(f)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return e.print(fmt.Sprintf("%d looks", n), map[string]int{"looks": n})
}
