package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

// fault is what stands between a client and a server: it answers, or keeps
// the request from arriving.
type fault func(path, body string) (int, error)

func (f fault) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, _ := io.ReadAll(req.Body)
		body = string(b)
	}
	status, err := f(req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:], body)
	if err != nil {
		return nil, err
	}
	answer := `{"run":{"info":{"run_id":"r1","experiment_id":"0"}}}`
	if status >= 400 {
		answer = `{"error_code":"X","message":"m"}`
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
}

var refusedDial = &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}

func faulty(t *testing.T, j Journal, f fault) *Client {
	t.Helper()
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: f}, Journal: j})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func startOne(t *testing.T, c *Client) *Run {
	t.Helper()
	r, err := c.StartRun(t.Context(), Experiment{ID: "0"}, RunOptions{})
	require.NoError(t, err)
	return r
}

// steps are those of the metrics in a request.
func steps(t *testing.T, body string) []int64 {
	t.Helper()
	var b struct{ Metrics []struct{ Step int64 } }
	require.NoError(t, json.Unmarshal([]byte(body), &b))
	var out []int64
	for _, m := range b.Metrics {
		out = append(out, m.Step)
	}
	return out
}

func TestTheSenderKeepsOrderAndRepeatsWhatDidNotGetThrough(t *testing.T) {
	for name, j := range map[string]Journal{"memory": {Off: true}, "disk": {Dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []int64
				failures := 2
				c := faulty(t, j, func(path, body string) (int, error) {
					if path != "log-batch" {
						return 200, nil
					}
					if failures > 0 {
						failures--
						return 503, nil
					}
					got = append(got, steps(t, body)...)
					return 200, nil
				})
				r := startOne(t, c)
				for i := range int64(1500) {
					require.NoError(t, r.LogMetric(t.Context(), i, "m", 1))
				}
				err := r.Flush(t.Context())
				for ; err != nil; err = r.Flush(t.Context()) {
					require.ErrorIs(t, err, mlops.ErrUnavailable, "Flush tells of an attempt that failed")
					require.ErrorContains(t, err, "1500 records wait")
					require.Equal(t, 1500, r.Pending())
				}
				require.Len(t, got, 1500)
				for i, s := range got {
					require.EqualValues(t, i, s)
				}
				require.NoError(t, r.End(t.Context(), nil))
			})
		})
	}
}

func TestLoggingMoreDoesNotAskADeadServerMoreOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := faulty(t, Journal{Off: true}, func(string, string) (int, error) { calls++; return 0, refusedDial })
		r := startOne(t, c)
		for i := range int64(3000) {
			require.NoError(t, r.LogMetric(t.Context(), i, "m", 1))
			synctest.Wait()
		}
		require.Equal(t, 1, calls, "each record broke off the pause")
		require.ErrorIs(t, r.Close(), mlops.ErrUnavailable)
	})
}

func TestTheSenderStopsAtAnErrorThatRepetitionWillNotCure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, status := 0, 401
		c := faulty(t, Journal{Off: true}, func(string, string) (int, error) { calls++; return status, nil })
		r := startOne(t, c)
		require.NoError(t, r.LogMetric(t.Context(), 1, "m", 1))
		_, err := r.ID(t.Context())
		require.ErrorIs(t, err, mlops.ErrUnauthenticated)
		<-time.After(time.Hour)
		synctest.Wait()
		require.Equal(t, 1, calls, "wrong credentials are not tried again by themselves")
		require.ErrorIs(t, r.Flush(t.Context()), mlops.ErrUnauthenticated)
		status = 200
		require.NoError(t, r.Flush(t.Context()), "the record was kept")
		require.NoError(t, r.Close())
		require.ErrorIs(t, r.LogMetric(t.Context(), 2, "m", 1), mlops.ErrInvalid)
	})
}

func TestAServerIsAskedAgainWhenItSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := &mlops.Error{Kind: mlops.ErrRateLimited, RetryAfter: 90 * time.Second}
		c := faulty(t, Journal{Off: true}, func(string, string) (int, error) { return 200, nil })
		s := c.out.idleSender(t.Context(), spool.Create("", "x", nil, spool.Options{}), head{})
		begin := time.Now()
		require.NoError(t, s.sleep(1, err))
		require.GreaterOrEqual(t, time.Since(begin), 90*time.Second)
		begin = time.Now()
		require.NoError(t, s.sleep(40, &mlops.Error{Kind: mlops.ErrUnavailable}))
		require.LessOrEqual(t, time.Since(begin), 90*time.Second, "the wait is capped")
		s.stop()
	})
}

// silent is a server that takes connections and never answers.
func silent(ctx context.Context) fault {
	return func(string, string) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
}

func TestEndWaitsForASilentServerNoLongerThanItsTimeout(t *testing.T) {
	for name, j := range map[string]Journal{"memory": {Off: true}, "disk": {Dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				r := startOne(t, faulty(t, j, silent(ctx)))
				require.NoError(t, r.LogMetric(t.Context(), 1, "a", 1))
				begin, boom := time.Now(), errors.New("boom")
				err := r.End(t.Context(), boom)
				require.Equal(t, 5*time.Second, time.Since(begin))
				require.ErrorIs(t, err, boom)
				require.Equal(t, 2, r.Pending())
				if j.Off {
					require.ErrorIs(t, err, mlops.ErrUnavailable, "what is only in memory is as good as lost")
				} else {
					require.Equal(t, boom, err, "what is in the journal is not lost")
				}
				cancel()
				require.ErrorContains(t, r.Close(), "2 records of run "+r.UID+" were not sent")
			})
		})
	}
}

func TestEndDoesNotWaitForAServerThatIsKnownToBeAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := faulty(t, Journal{Dir: t.TempDir()}, func(string, string) (int, error) { return 0, refusedDial })
		r := startOne(t, c)
		synctest.Wait()
		begin := time.Now()
		require.NoError(t, r.End(t.Context(), nil))
		require.LessOrEqual(t, time.Since(begin), knownDown)
		require.Equal(t, 1, r.Pending())
	})
}

func TestAnEndedRunIsSentWhileTheProgramGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		down, ended := true, false
		dir := t.TempDir()
		c := faulty(t, Journal{Dir: dir}, func(path, body string) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return 0, refusedDial
			}
			ended = ended || path == "update" && strings.Contains(body, `"FINISHED"`)
			return 200, nil
		})
		r := startOne(t, c)
		require.NoError(t, r.LogMetric(t.Context(), 1, "a", 1))
		require.NoError(t, r.End(t.Context(), nil))
		require.Equal(t, 2, r.Pending())
		mu.Lock()
		down = false
		mu.Unlock()
		<-time.After(2 * time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.True(t, ended)
		require.Zero(t, r.Pending())
		for b, err := range Backlogs(dir) {
			require.NoError(t, err)
			t.Errorf("the journal %s stayed behind", b.Path)
		}
	})
}

func TestSamplesComeAtOnceAndThenEverySoOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []int64
		c := faulty(t, Journal{Off: true}, func(path, body string) (int, error) {
			if path == "log-batch" {
				got = append(got, steps(t, body)...)
			}
			return 200, nil
		})
		r, err := c.StartRun(t.Context(), Experiment{ID: "0"}, RunOptions{SampleEvery: time.Millisecond, Sampler: func(context.Context) (map[string]float64, error) {
			return map[string]float64{"system/cpu_utilization_percentage": 1}, errors.New("no GPU")
		}})
		require.NoError(t, err)
		<-time.After(3500 * time.Millisecond)
		require.NoError(t, r.End(t.Context(), nil))
		require.Equal(t, []int64{0, 1, 2, 3, 4}, got, "one second is the shortest interval, and the end is sampled too")
	})
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	want := []record{
		{kind: metricRecord, key: "loss ü", value: 0.5, millis: 1_700_000_000_000, step: -3, model: "m-1"},
		{kind: paramRecord, key: "lr", text: "0.1"}, {kind: tagRecord, key: "t", text: ""},
		{kind: inputRecord, text: `{"dataset":{"name":"wine"}}`}, {kind: blobRecord, key: "a/b.txt", blob: []byte{0, 1}},
		{kind: fileRecord, key: "c.bin", text: "1"}, {kind: outputRecord, key: "m-1", step: 3}, {kind: tableRecord, key: "t.json", blob: []byte("{}")}, {kind: detachRecord}, {kind: endRecord, text: string(RunFinished), millis: 5},
	}
	var b []byte
	for i := range want {
		b = want[i].appendTo(b)
		want[i].seq = 7
	}
	got, err := readRecords(7, b)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = readRecords(7, b[:len(b)-1])
	require.Error(t, err, "a cut record is not taken for a whole one")
	_, err = readRecords(7, []byte{99})
	require.Error(t, err)
}

func FuzzReadRecords(f *testing.F) {
	f.Add(record{kind: metricRecord, key: "loss", value: 1}.appendTo(nil))
	f.Add(record{kind: blobRecord, key: "a", blob: []byte("b")}.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := readRecords(1, b)
		if err != nil {
			return
		}
		var again []byte
		for _, r := range rs {
			again = r.appendTo(again)
		}
		if back, err := readRecords(1, again); err != nil || len(back) != len(rs) {
			t.Errorf("%d records came back as %d, %v", len(rs), len(back), err)
		}
	})
}
