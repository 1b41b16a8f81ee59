package mlflow_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/mlflow"
)

// poisoned logs to a project good records with poisons among them.
func (j job) poisoned(ctx context.Context) error {
	say("begin")
	p, err := client.FromProject(ctx, j.Project, client.In(j.Experiment))
	if err != nil {
		return err
	}
	r, err := p.StartRun(ctx, j.options())
	if err != nil {
		return err
	}
	say("uid %s", r.UID)
	if err := r.LogText(ctx, "base", "base.txt"); err != nil {
		return err
	}
	pace := time.NewTicker(max(j.Pace, 1))
	defer pace.Stop()
	for n := j.From; n < j.To; n++ {
		if n%j.Poison == j.Poison-1 {
			if err := mlflow.LogPoison(r, n/j.Poison); err != nil {
				return err
			}
			say("poison %d", n/j.Poison)
		} else {
			if err := j.item(ctx, r, n); err != nil {
				return fmt.Errorf("%d: %w", n, err)
			}
			say("ack %d", n)
		}
		<-pace.C
	}
	say("ending")
	_ = r.End(ctx, nil) // it names the poisons
	say("ended %d", r.Pending())
	return nil // and not Close, whose word about what waits would be the exit code
}

// team is a program of one project, of which several log into one home.
type team struct {
	*program
	job
	project  string
	killed   bool
	at       time.Time     // when it was gone
	delay    time.Duration // from then until nothing of its run waited
	journals []mlflow.Backlog
}

// teams are the projects and the home that a suite has.
type teams struct {
	t     testing.TB
	s     *cassette.Session
	dir   string   // of this round
	dirs  []string // of all rounds
	names []string
}

func (ts *teams) spool() string { return filepath.Join(ts.dir, "home", "spool", "mlflow") }

func (ts *teams) start(j job) *program {
	j.Journals, j.Experiment = ts.dir, ts.dir
	return startProgram(ts.t, j, "MLFLOW_TRACKING_URI="+ts.s.URL, "MLFLOW_TRACKING_USERNAME="+ts.s.Auth.Username, "MLFLOW_TRACKING_PASSWORD="+string(ts.s.Auth.Password))
}

// round lets each project log. All programs but one are killed, and one agent
// of those that send what they left.
func (ts *teams) round(d *rand.Rand, spared int) []*team {
	ts.t.Helper()
	agents := []*program{ts.start(job{Do: "agent"})}
	if d.IntN(4) == 0 {
		agents = append(agents, ts.start(job{Do: "agent"}))
	}
	var out []*team
	over := make(chan *team)
	for i, name := range ts.names {
		one := &team{project: name, killed: i != spared, job: job{Do: "poisoned", Project: name, To: 1 << 30, Poison: 40 + d.IntN(100),
			Pace: time.Duration(1+d.IntN(4)) * time.Millisecond, EndTimeout: time.Minute}}
		word, wait := "ack", upTo(d, 1500*time.Millisecond)
		switch d.IntN(5) {
		case 0:
			word, wait = "begin", upTo(d, 100*time.Millisecond)
		case 1:
			word, wait, one.To = "ending", upTo(d, 400*time.Millisecond), 300+d.IntN(300)
		}
		if !one.killed {
			one.To = 400
		}
		one.program = ts.start(one.job)
		out = append(out, one)
		go func() {
			if one.killed {
				one.after(word, wait)
				one.kill()
			} else {
				<-one.over
			}
			one.at = time.Now()
			over <- one
		}()
	}
	victim := upTo(d, 2*time.Second) // of the agent, after the first program is gone
	<-over
	agents[0].after("begin", victim)
	agents[0].kill()
	agents[0] = ts.start(job{Do: "agent"})
	for range out[1:] {
		<-over
	}
	ts.settled(out)
	for _, a := range agents {
		a.kill()
	}
	return out
}

// settled waits until nothing of the programs' runs waits, and notes when.
func (ts *teams) settled(all []*team) {
	ts.t.Helper()
	within(ts.t, 5*time.Minute, "the agent sends what the programs left", func() bool {
		left := map[string][]mlflow.Backlog{}
		waits := map[string]bool{}
		for b, err := range mlflow.Backlogs(ts.spool()) {
			require.NoError(ts.t, err)
			left[b.Run] = append(left[b.Run], b)
			waits[b.Run] = waits[b.Run] || b.Waiting > 0 || b.Held
		}
		done := true
		for _, one := range all {
			uid, _ := one.word("uid")
			if waits[uid] {
				done = false
			} else if one.delay == 0 {
				one.delay, one.journals = time.Since(one.at), left[uid]
			}
		}
		return done
	})
}

// verify checks a run: each good record once on the server, each poison told once.
func (one *team) verify(ts *teams, c *mlflow.Client) (good, poisons int) {
	t := ts.t
	t.Helper()
	limit := time.Duration(setting(t, "MLOPS_POISON_DELAY", 180)) * time.Second // loose: the machine may be busy
	require.Less(t, one.delay, limit, "project %s was held up", one.project)
	uid, ok := one.word("uid")
	if !ok {
		return 0, 0
	}
	e := expect(one.program)
	good = len(e.acked)
	one.mu.Lock()
	told := map[string]int{}
	for _, l := range one.lines {
		if n, ok := strings.CutPrefix(l, "poison "); ok {
			var i int
			_, err := fmt.Sscan(n, &i)
			require.NoError(t, err)
			told[mlflow.PoisonName(i)] = 0
		}
	}
	one.mu.Unlock()
	poisons = len(told)
	next := good + poisons // may be there, and unsaid
	e.maybe[next] = true
	_, ended := one.word("ended")
	_, ending := one.word("ending")
	switch {
	case ended:
		e.status = []mlflow.RunStatus{mlflow.RunFinished}
	case ending:
		e.status = []mlflow.RunStatus{mlflow.RunFinished, mlflow.RunKilled}
	default:
		e.status = []mlflow.RunStatus{mlflow.RunKilled}
	}
	if !one.killed {
		require.True(t, ended, "%s", one.stderr.String())
	}
	experiment, err := c.ExperimentByName(context.Background(), one.project)
	require.NoError(t, err)
	ts.syncedUntil("the run is there once", func() bool {
		found, err := runsOf(c, experiment.ID, uid)
		require.NoError(t, err)
		return len(found) == 1
	})
	e.verify(t, c, runOf(t, c, experiment.ID, uid))
	for _, b := range one.journals {
		require.Zero(t, b.Lost+b.Dropped, b.Path)
		for why, err := range b.Refusals() {
			require.NoError(t, err)
			i := strings.Index(why, "poison-")
			require.GreaterOrEqual(t, i, 0, "a good record was refused: %s", why)
			name := why[i : i+strings.Index(why[i:], ".")+1]
			if _, said := told[name]; !said {
				require.Equal(t, mlflow.PoisonName(next/one.Poison), name, "no program logged it")
			}
			told[name]++
		}
	}
	for name, n := range told {
		if name == mlflow.PoisonName(next/one.Poison) && next%one.Poison == one.Poison-1 && n == 0 {
			continue
		}
		require.Equal(t, 1, n, "%s of run %s, killed %v, is told %d times", name, uid, one.killed, n)
	}
	return good, poisons
}

// syncedUntil has all homes synced until ok: a busy server may make the run of a
// killed program once more, after another program has made it.
func (ts *teams) syncedUntil(what string, ok func() bool) {
	ts.t.Helper()
	within(ts.t, 5*time.Minute, what, func() bool {
		if ok() {
			return true
		}
		for _, ts.dir = range ts.dirs {
			require.NoError(ts.t, ts.start(job{Do: "project-sync"}).wait())
		}
		return false
	})
}

func TestPoisonAndKillsLoseNothingAndHoldUpNobody(t *testing.T) {
	s := mlflow.LiveSession(t)
	c, err := mlflow.New(mlflow.Options{URL: s.URL, Auth: s.Auth, Journal: mlflow.Journal{Off: true}})
	require.NoError(t, err)
	d, seed := dice(t)
	kills := setting(t, "MLOPS_POISON_KILLS", 20)
	ts := &teams{t: t, s: s}
	for i := range 5 {
		ts.names = append(ts.names, fmt.Sprintf("poison-%d-%d-%d", seed, i, time.Now().UnixNano()))
	}
	done, good, poisons, longest := 0, 0, 0, time.Duration(0)
	for i := 0; done < kills; i++ {
		ts.dir = t.TempDir()
		ts.dirs = append(ts.dirs, ts.dir)
		begin := time.Now()
		for _, one := range ts.round(d, i%len(ts.names)) {
			g, p := one.verify(ts, c)
			good, poisons, longest = good+g, poisons+p, max(longest, one.delay)
		}
		done += len(ts.names) // four programs and an agent
		t.Logf("round %d of seed %d: %s, %d good records, %d poisons so far, longest delay %s", i, seed, time.Since(begin).Round(time.Millisecond), good, poisons, longest)
	}
	var experiments []string
	for _, name := range ts.names {
		if e, err := c.ExperimentByName(t.Context(), name); err == nil {
			experiments = append(experiments, e.ID)
		}
	}
	ts.syncedUntil("no run is left behind", func() bool {
		left, err := mlops.Collect(c.Runs(t.Context(), mlflow.RunQuery{Experiments: experiments, Filter: "attributes.status = 'RUNNING'"}))
		require.NoError(t, err)
		return len(left) == 0
	})
	figures(t, "poison-kills: seed=%d kills=%d acknowledged=%d poisons=%d longest_delay=%s", seed, done, good, poisons, longest.Round(time.Millisecond))
}
