package mlflow_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// dice is a source of chance whose seed is told.
func dice(t testing.TB) (*rand.Rand, int) {
	t.Helper()
	seed := setting(t, "MLOPS_SEED", 1)
	return rand.New(rand.NewPCG(uint64(seed), 14)), seed
}

func upTo(d *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(d.Int64N(int64(most)))
}

// phases are what n programs are to be killed in, each at least twice if n is
// ten, in an order of chance.
func phases(d *rand.Rand, n int) []string {
	all := []string{"start", "end", "log", "flush", "log"}
	out := make([]string, n)
	for i := range out {
		out[i] = all[i%len(all)]
	}
	d.Shuffle(n, func(i, k int) { out[i], out[k] = out[k], out[i] })
	return out
}

func TestNoAcknowledgedRecordDiesWithItsProgram(t *testing.T) {
	s := sharedServer(t)
	c := s.Client()
	d, seed := dice(t)
	kills := setting(t, "MLOPS_CLIENT_KILLS", 10)
	experiment, err := c.CreateExperiment(t.Context(), fmt.Sprintf("kills-%d-%d", seed, time.Now().UnixNano()), mlflow.ExperimentOptions{})
	require.NoError(t, err)
	at, records, ended := map[string]int{}, 0, 0
	for i, phase := range phases(d, kills) {
		dir := filepath.Join(t.TempDir(), "journals")
		j := job{Do: "log", URL: s.URL, Journals: dir, Experiment: experiment, To: 1 << 30, Pace: time.Duration(d.IntN(3)) * 400 * time.Microsecond, End: "end"}
		word, wait := "begin", upTo(d, 120*time.Millisecond)
		switch phase {
		case "log":
			word, wait = "ack", upTo(d, 1500*time.Millisecond)
		case "flush":
			word, wait, j.To, j.Flush = "flush", upTo(d, 400*time.Millisecond), d.IntN(1200), true
		case "end":
			word, wait, j.To, j.Pace = "ending", upTo(d, 100*time.Millisecond), 600+d.IntN(600), 0 // much is left to be sent
		}
		if j.Pace == 0 && j.To > 2000 { // a server takes some thousand a second: enough to be in the middle
			j.To, j.Flush = 2000, true
		}
		p := startProgram(t, j)
		p.after(word, wait)
		p.kill()
		at[phase]++
		e := expect(p)
		records += len(e.acked)
		e.maybe[len(e.acked)] = true
		_, over := p.word("ended")
		_, ending := p.word("ending")
		switch {
		case over:
			e.status = []mlflow.RunStatus{mlflow.RunFinished}
			ended++
		case ending:
			e.status = []mlflow.RunStatus{mlflow.RunFinished, mlflow.RunKilled}
		default:
			e.status = []mlflow.RunStatus{mlflow.RunKilled}
		}
		t.Logf("kill %d of seed %d: %s after %q, %d acknowledged", i, seed, wait.Round(time.Millisecond), word, len(e.acked))
		switch d.IntN(3) {
		case 0: // the next program sends what the last one left
			next := startProgram(t, job{Do: "log", URL: s.URL, Journals: dir, Experiment: experiment, To: 1, End: "end", EndTimeout: time.Minute})
			require.NoError(t, next.wait())
			within(t, time.Minute, "the next program sends what was left", func() bool {
				list, err := mlops.Collect(mlflow.Backlogs(dir))
				require.NoError(t, err)
				if len(list) > 0 && !list[0].Held {
					syncAll(t, j) // it ended before it was done
				}
				return len(list) == 0
			})
		case 1: // two at once
			first, second := startProgram(t, job{Do: "sync", URL: s.URL, Journals: dir}), startProgram(t, job{Do: "sync", URL: s.URL, Journals: dir})
			_, _ = first.wait(), second.wait()
			syncAll(t, j)
		default:
			syncAll(t, j)
		}
		empty(t, dir)
		if uid, ok := p.word("uid"); ok {
			e.verify(t, c, runOf(t, c, experiment, uid))
		}
		if t.Failed() {
			break
		}
	}
	uids := map[string]int{}
	for r, err := range c.Runs(t.Context(), mlflow.RunQuery{Experiments: []string{experiment}}) {
		require.NoError(t, err)
		require.NotEqual(t, mlflow.RunRunning, r.Status, "run %s was left behind", r.UID)
		uids[r.UID]++
	}
	for uid, n := range uids {
		require.Equal(t, 1, n, "%d runs have the UID %s", n, uid)
	}
	figures(t, "client-kills: seed=%d kills=%d acknowledged=%d runs=%d finished=%d phases=%v", seed, kills, records, len(uids), ended, at)
}

func TestAServerMayDieUnderALivingProgram(t *testing.T) {
	s := newServer(t)
	s.Start()
	c := s.Client()
	d, seed := dice(t)
	kills := setting(t, "MLOPS_SERVER_KILLS", 3)
	dir := filepath.Join(t.TempDir(), "journals")
	stop := filepath.Join(t.TempDir(), "stop")
	p := startProgram(t, job{Do: "log", URL: s.URL, Journals: dir, Experiment: "0", To: 1 << 30, Pace: 5 * time.Millisecond, Stop: stop, End: "end", EndTimeout: 2 * time.Minute})
	p.after("ack", 100*time.Millisecond)
	for i := range kills {
		wait := upTo(d, 2*time.Second)
		p.after("begin", wait)
		s.Kill()
		t.Logf("kill %d of seed %d after %s, %d acknowledged", i, seed, wait.Round(time.Millisecond), len(p.acknowledged()))
		s.Spawn()
		if d.IntN(3) == 0 { // also while it starts
			p.after("begin", upTo(d, 4*time.Second))
			s.Kill()
			s.Spawn()
		}
		s.Ready()
	}
	uid, _ := p.word("uid")
	grows(t, c, "0", uid) // an end does not wait for a server that was away at the last try
	require.NoError(t, os.WriteFile(stop, nil, 0o600))
	require.NoError(t, p.wait())
	left, ok := p.word("ended")
	require.True(t, ok)
	require.Equal(t, "0", left, "the end waits for the server")
	e := expect(p)
	e.status = []mlflow.RunStatus{mlflow.RunFinished}
	e.verify(t, c, runOf(t, c, "0", uid))
	empty(t, dir)
	figures(t, "server-kills: seed=%d kills=%d acknowledged=%d", seed, kills, len(e.acked))
}
