package shares

import (
	"context"

	"github.com/mlops-integration/mlops/airflow"
)

// widths finds, where only REST is there, pools whose ready tasks take several
// slots: those whose open slots are not used although tasks are ready. The list
// of pools does not tell, and only of these the tasks are asked for.
type widths struct {
	unused map[string]int // looks in a row at which a pool had unused slots
	widest map[string]int
}

// patience is after how many looks an open slot that is not taken is one too few.
const patience = 3

func (w *widths) find(ctx context.Context, c *airflow.Client, pools []airflow.Pool) (map[string]int, error) {
	if w.unused == nil {
		w.unused, w.widest = map[string]int{}, map[string]int{}
	}
	for _, p := range pools {
		switch {
		case !p.OfProject() || p.Scheduled < 2:
			delete(w.unused, p.Name)
			delete(w.widest, p.Name)
			continue
		case p.Slots > taken(p):
			w.unused[p.Name]++
		default:
			w.unused[p.Name] = 0
		}
		if w.unused[p.Name] != patience {
			continue
		}
		for t, err := range c.Tasks.Search(ctx, airflow.TaskSearch{States: []airflow.State{airflow.StateScheduled}, Pools: []string{p.Name}}) {
			if err != nil {
				return nil, err
			}
			w.widest[p.Name] = max(w.widest[p.Name], t.PoolSlots)
		}
	}
	return w.widest, nil
}
