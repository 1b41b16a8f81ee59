package mlflow_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// thief stands before a server and, of the calls that change something, lets
// some take effect and keeps the answer.
type thief struct {
	mu     sync.Mutex
	dice   *rand.Rand
	share  float64
	stolen map[string]int
}

var worthStealing = []string{"runs/create", "runs/update", "log-batch", "log-inputs", "model-versions/create", "registered-models/create", "mlflow-artifacts/artifacts/"}

// steals decides about one answer: kept with the connection cut, or replaced by a 503.
func (f *thief) steals(path string) (cut, instead bool) {
	for _, w := range worthStealing {
		if !strings.Contains(path, w) {
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.dice.Float64() >= f.share {
			return false, false
		}
		f.stolen[strings.Trim(w, "/")]++
		return f.dice.IntN(3) > 0, true
	}
	return false, false
}

// newThief puts a proxy before the server.
func newThief(t *testing.T, s *server, d *rand.Rand, share float64) (*thief, string) {
	t.Helper()
	f := &thief{dice: d, share: share, stolen: map[string]int{}}
	to, err := url.Parse(s.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to) // and with it the Host that MLflow knows
		},
		ModifyResponse: func(r *http.Response) error {
			cut, instead := f.steals(r.Request.URL.Path)
			if !cut && !instead || r.StatusCode >= 300 || r.Request.Method == "GET" {
				return nil
			}
			_, err := io.Copy(io.Discard, r.Body) // it took effect
			if err != nil || cut {
				panic(http.ErrAbortHandler)
			}
			r.StatusCode, r.Status = 503, "503 Service Unavailable"
			r.Header.Del("Content-Type")
			r.Header.Set("Content-Length", "0")
			r.ContentLength, r.Body = 0, http.NoBody
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	p := httptest.NewServer(proxy)
	t.Cleanup(p.Close)
	return f, p.URL
}

func TestALostAnswerDoublesNothing(t *testing.T) {
	s := sharedServer(t)
	c := s.Client()
	d, seed := dice(t)
	runs := setting(t, "MLOPS_LOST_RUNS", 4)
	steal, through := newThief(t, s, rand.New(rand.NewPCG(uint64(d.Int64()), 1)), 0.35) // dice of its own: it is asked from many goroutines
	experiment, err := c.CreateExperiment(t.Context(), fmt.Sprintf("lost-%d-%d", seed, time.Now().UnixNano()), mlflow.ExperimentOptions{})
	require.NoError(t, err)
	records := 0
	for i := range runs {
		dir := filepath.Join(t.TempDir(), "journals")
		j := job{Do: "log", URL: through, Journals: dir, Experiment: experiment, To: 300 + d.IntN(600), Pace: time.Duration(d.IntN(2)) * time.Millisecond, End: "end", EndTimeout: time.Minute}
		p := startProgram(t, j)
		killed := d.IntN(2) == 0
		if killed {
			p.after("ack", upTo(d, 800*time.Millisecond))
			p.kill()
		}
		_ = p.wait()
		_, over := p.word("ended")
		require.True(t, killed || over, "%s", p.stderr.String())
		syncPatiently(t, j)
		e := expect(p)
		e.maybe[len(e.acked)] = true
		e.status = []mlflow.RunStatus{mlflow.RunFinished}
		if _, ending := p.word("ending"); !over {
			e.status = []mlflow.RunStatus{mlflow.RunKilled}
			if ending {
				e.status = append(e.status, mlflow.RunFinished)
			}
		}
		records += len(e.acked)
		if uid, ok := p.word("uid"); ok {
			e.verify(t, c, runOf(t, c, experiment, uid))
		}
		empty(t, dir)
		t.Logf("run %d of seed %d: killed %v, %d acknowledged", i, seed, killed, len(e.acked))
	}

	name := fmt.Sprintf("lost-%d-%d", seed, time.Now().UnixNano())
	_, err = c.Models.Create(t.Context(), name, mlflow.ModelOptions{})
	require.NoError(t, err)
	versions := setting(t, "MLOPS_LOST_VERSIONS", 10)
	p := startProgram(t, job{Do: "versions", URL: through, Journals: t.TempDir(), Run: name, To: versions})
	require.NoError(t, p.wait())
	sources := map[string]int{}
	for v, err := range c.Models.Versions(t.Context(), mlflow.ModelQuery{Filter: "name = '" + name + "'"}) {
		require.NoError(t, err)
		sources[v.Source]++
	}
	require.Len(t, sources, versions)
	for source, n := range sources {
		require.Equal(t, 1, n, "%d versions came from %s", n, source)
	}
	steal.mu.Lock()
	defer steal.mu.Unlock()
	require.NotZero(t, steal.stolen["log-batch"])
	figures(t, "lost-answers: seed=%d runs=%d versions=%d acknowledged=%d stolen=%v", seed, runs, versions, records, maps.Clone(steal.stolen))
}

func TestEightProgramsLogToOneRun(t *testing.T) {
	s := sharedServer(t)
	g := newGate(t, s)
	c := s.Client()
	d, seed := dice(t)
	dir := filepath.Join(t.TempDir(), "journals")
	j := job{Do: "log", URL: g.URL, Journals: dir, Experiment: "0", Pace: time.Millisecond, End: "close", KeepStatus: true, EndTimeout: time.Minute}
	owner := j
	owner.To, owner.End, owner.KeepStatus, owner.Pace = 2000, "end", false, 4*time.Millisecond
	all := []*program{startProgram(t, owner)} // no server listens yet
	all[0].after("uid", 0)
	uid, ok := all[0].word("uid")
	require.True(t, ok)
	guest := func(i int) job {
		own := j
		own.Run, own.From = uid, i*10_000
		own.To = own.From + 500 + d.IntN(500)
		return own
	}
	for i := range 4 {
		all = append(all, startProgram(t, guest(i+1)))
	}
	all[1].after("uid", 0) // its user gave up waiting for the server
	g.Open()
	for i := range 3 {
		all = append(all, startProgram(t, guest(i+5)))
	}
	for i, p := range all {
		err := p.wait()
		if i == 0 {
			require.NoError(t, err)
		} // that something waits yet is the word of Close for the others
	}
	syncAll(t, j)
	e := expect(all...)
	e.maybe[-1] = true
	e.status = []mlflow.RunStatus{mlflow.RunFinished}
	require.Greater(t, len(e.acked), 2000+7*500-1)
	e.verify(t, c, runOf(t, c, "0", uid))
	list, err := mlops.Collect(mlflow.Backlogs(dir))
	require.NoError(t, err)
	require.Empty(t, list)
	figures(t, "eight-programs: seed=%d acknowledged=%d", seed, len(e.acked))
}
