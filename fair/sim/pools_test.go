package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/fair"
)

func projects(n int) (out []fair.Project) {
	for i := range n {
		out = append(out, fair.Project{Name: fmt.Sprintf("project-%02d", i)})
	}
	return out
}

func many(project, n int, takes time.Duration) (jobs []Job) {
	for range n {
		jobs = append(jobs, Job{Project: project, Takes: takes})
	}
	return jobs
}

// flood is one project with so many tasks of a second, and 13 that trickle three
// each.
func flood(n int) []Job {
	jobs := many(0, n, time.Second)
	for k := range 3 {
		for i := 1; i < 14; i++ {
			jobs = append(jobs, Job{Project: i, At: time.Duration(5+20*k+i%3) * time.Second, Takes: time.Second})
		}
	}
	return jobs
}

// starts are the times at which tasks of a project began, the first first.
func (p *Pools) starts(project int) (out []time.Duration) {
	for _, j := range p.Jobs {
		if j.Project == project && j.Begun > 0 {
			out = append(out, j.Begun)
		}
	}
	slices.Sort(out)
	return out
}

func (p *Pools) slotTime(project int) (d time.Duration) {
	for _, j := range p.Jobs {
		if j.Project == project && j.Begun > 0 {
			d += time.Duration(j.slots()) * (min(j.Begun+p.Launch+j.Takes, p.now) - j.Begun)
		}
	}
	return d
}

// waits are how long the tasks of all projects but the first waited, those that
// never began until the end; the longest last.
func (p *Pools) waits() (out []time.Duration) {
	for _, j := range p.Jobs {
		if j.Project > 0 && j.Ready > 0 {
			end := j.Begun
			if end == 0 {
				end = p.now
			}
			out = append(out, end-j.Ready)
		}
	}
	slices.Sort(out)
	return out
}

// jain is Jain's index of fairness: 1 if all are alike, 1/n if one has all.
func jain(of []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range of {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(of)) * squares)
}

// served are the parts of what each project wanted, at most its fair number, that
// began.
func (p *Pools) served(each int) (out []float64) {
	for i := range p.Projects {
		out = append(out, float64(min(each, len(p.starts(i)))))
	}
	return out
}

// machine is how quickly one can look, as was measured on a quiet machine and
// beside eight busy processes, and what is due there.
type machine struct {
	Pools
	work    float64       // done beside what one pool does
	longest time.Duration // wait: tasks before it ÷ budget × duration, half as much again
	even    float64       // how far shares may be apart
}

var machines = map[string]machine{
	"looks each 0.5 s": {Pools{Look: 500 * time.Millisecond}, 0.85, 9 * time.Second, 0.15},
	"looks each 1 s":   {Pools{Look: time.Second}, 0.8, 9 * time.Second, 0.15},
	// what the executor's parallelism allows: no slot is idle between two hands
	"overlap":          {Pools{Look: 500 * time.Millisecond, Cap: 4, Rules: fair.Rules{Overlap: true}}, 0.95, 8 * time.Second, 0.15},
	"loaded":           {Pools{Look: time.Second, Read: time.Second, Write: 200 * time.Millisecond, Launch: time.Second, Pass: 500 * time.Millisecond}, 0.6, 26 * time.Second, 0.25},
	"loaded, overlap":  {Pools{Look: time.Second, Read: time.Second, Write: 200 * time.Millisecond, Launch: time.Second, Pass: 500 * time.Millisecond, Cap: 4, Rules: fair.Rules{Overlap: true}}, 0.8, 26 * time.Second, 0.3},
	"loaded, database": {Pools{Look: 300 * time.Millisecond, Read: 10 * time.Millisecond, Write: 200 * time.Millisecond, Launch: time.Second, Pass: 500 * time.Millisecond}, 0.95, 20 * time.Second, 0.15},
}

func onEach(t *testing.T, test func(t *testing.T, m machine)) {
	for name, m := range machines {
		t.Run(name, func(t *testing.T) {
			m.Rules.Linger = 4 * time.Second
			test(t, m)
		})
	}
}

func TestAFloodDelaysNoOtherProject(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		one := p
		one.Mechanism, one.Budget, one.Projects, one.Jobs = OnePool, 4, projects(14), flood(400)
		one.Run(100 * time.Second)
		require.Less(t, jain(one.served(3)), 0.1, "one pool: the flood has all")

		p.Budget, p.Projects, p.Jobs = 4, projects(14), flood(400)
		p.Run(100 * time.Second)
		require.Zero(t, p.Over)
		require.GreaterOrEqual(t, jain(p.served(3)), 0.95)
		require.GreaterOrEqual(t, float64(p.done), m.work*float64(one.done), "work done")
		waits := p.waits()
		require.LessOrEqual(t, waits[len(waits)-1], m.longest)
		flooder := p.starts(0)
		for i := 1; i < 14; i++ {
			first := p.starts(i)[0]
			came := slices.IndexFunc(flooder, func(d time.Duration) bool { return d >= 5*time.Second })
			require.Greater(t, flooder[came+19], first, "project %d", i)
		}
	})
}

func TestWeightsHoldAfterSixtyTasks(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		p.Budget, p.Projects = 4, projects(3)
		p.Projects[0].Weight, p.Projects[1].Weight = 4, 2
		p.Jobs = slices.Concat(many(0, 500, time.Second), many(1, 300, time.Second), many(2, 200, time.Second))
		p.Run(200 * time.Second)
		for i, due := range []float64{4. / 7, 2. / 7, 1. / 7} {
			require.InEpsilon(t, due, p.slotTime(i).Seconds()/p.Busy, 0.1, "project %d", i)
		}
	})
}

func TestShortTasksGetAsMuchAsLongOnes(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		p.Budget, p.Projects = 4, projects(2)
		p.Jobs = slices.Concat(many(0, 1200, time.Second), many(1, 100, 20*time.Second))
		p.Run(600 * time.Second)
		require.InEpsilon(t, p.slotTime(0).Seconds(), p.slotTime(1).Seconds(), m.even)
	})
}

func TestAChainBesideAFloodWaitsTwoQuantaALink(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		p.Budget, p.Projects, p.Jobs = 2, projects(14), many(0, 200, time.Second)
		for i := range 60 {
			j := Job{Project: 1, Takes: time.Second, After: len(p.Jobs)}
			if i == 0 {
				j.After = 0
			}
			p.Jobs = append(p.Jobs, j)
		}
		p.Run(300 * time.Second)
		waits := p.waits()
		require.Len(t, waits, 60)
		quantum := p.Launch + time.Second
		require.LessOrEqual(t, waits[59], 2*quantum+p.Read)
		fifth, late := p.Jobs[204], p.Jobs[254]
		require.InDelta(t, (fifth.Begun - fifth.Ready).Seconds(), (late.Begun - late.Ready).Seconds(), quantum.Seconds())
	})
}

func TestAWideTaskStartsWithinThreeQuanta(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		p.Budget, p.Projects = 4, projects(14)
		p.Jobs = append(slices.Concat(many(0, 100, time.Second), many(1, 100, time.Second)), Job{Project: 2, Slots: 3, At: 10 * time.Second, Takes: time.Second})
		p.Run(60 * time.Second)
		wide := p.Jobs[200]
		require.LessOrEqual(t, wide.Begun-wide.Ready, 3*(p.Launch+time.Second)+2*p.Read)
	})
}

func TestAFloodAloneHasAll(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		p.Budget, p.Projects, p.Jobs = 4, projects(14), many(0, 900, time.Second)
		one := p
		one.Mechanism, one.Jobs = OnePool, slices.Clone(p.Jobs)
		one.Run(60 * time.Second)
		p.Run(60 * time.Second)
		require.GreaterOrEqual(t, p.Busy, 0.95*one.Busy)
	})
}

func TestWhatWasCancelledCostsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		p := m.Pools
		p.Budget, p.Projects = 4, projects(2)
		p.Jobs = slices.Concat(many(0, 400, time.Second), many(1, 1000, time.Second), many(1, 400, time.Second))
		for i := range p.Jobs[400:1400] {
			p.Jobs[400+i].Cancel = 10 * time.Second
		}
		for i := range p.Jobs[1400:] {
			p.Jobs[1400+i].At = 11 * time.Second
		}
		p.Run(90 * time.Second)
		a, b := p.starts(0), p.starts(1)
		after := func(at time.Duration) bool { return at > 12*time.Second }
		require.InEpsilon(t, len(a)-slices.IndexFunc(a, after), len(b)-slices.IndexFunc(b, after), 0.1)
	})
}

func TestATraceIsDecidedAgain(t *testing.T) {
	var trace bytes.Buffer
	p := machines["overlap"].Pools
	p.Budget, p.Projects, p.Jobs = 4, projects(14), flood(200)
	p.Each = func(l fair.Look) { require.NoError(t, json.NewEncoder(&trace).Encode(l)) }
	p.Run(60 * time.Second)
	text := trace.String()
	n, err := Replay(strings.NewReader(text))
	require.NoError(t, err)
	require.Greater(t, n, 50)

	_, err = Replay(strings.NewReader(strings.Replace(text, `"slots":[`, `"slots":[9`, 1)))
	require.ErrorContains(t, err, "look 1 at 00:00:00.000: decided [")
	_, err = Replay(strings.NewReader("{"))
	require.ErrorContains(t, err, "look 1: ")
}
