package mlflow_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// smallDisk mounts a file system in memory. It skips the test where that is
// not permitted.
func smallDisk(t testing.TB, options string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs may be mounted here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// counting is a server that may be away and counts the steps of metrics.
type counting struct {
	mu   sync.Mutex
	away bool
	seen map[int64]int
}

func (s *counting) come() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = false
}

func (s *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	if strings.HasSuffix(req.URL.Path, "log-batch") {
		var b struct{ Metrics []struct{ Step int64 } }
		if err := json.NewDecoder(req.Body).Decode(&b); err != nil {
			return nil, err
		}
		for _, m := range b.Metrics {
			s.seen[m.Step]++
		}
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Request: req,
		Body: io.NopCloser(strings.NewReader(`{"run":{"info":{"run_id":"r1","experiment_id":"0"}}}`))}, nil
}

func TestAFullDiskLosesNothingThatWasAcknowledged(t *testing.T) {
	for _, tt := range []struct {
		name  string
		calls int  // of 400 bytes or so
		gap   bool // what is held in memory has an end
	}{
		{"what the disk does not take waits in memory", 8_000, false},
		{"what the memory does not take either is told", 80_000, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := smallDisk(t, "size=1m")
			synctest.Test(t, func(t *testing.T) { fillDisk(t, filepath.Join(dir, "journals"), tt.calls, tt.gap) })
		})
	}
}

func fillDisk(t *testing.T, dir string, calls int, gap bool) {
	server := &counting{away: true, seen: map[int64]int{}}
	c, err := mlflow.New(mlflow.Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: mlflow.Journal{Dir: dir}})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	r, err := c.StartRun(t.Context(), mlflow.Experiment{ID: "0"}, mlflow.RunOptions{})
	require.NoError(t, err)
	key := strings.Repeat("k", 240)
	kept := map[int64]int{}
	var lost uint64
	log := func(from, to int) {
		for n := from; n < to; n++ {
			if err := r.LogMetric(t.Context(), int64(n), key, 1); err != nil {
				require.ErrorIs(t, err, mlops.ErrUnavailable)
				lost++
				continue
			}
			kept[int64(n)] = 1
		}
	}
	log(0, calls)
	require.Equal(t, gap, lost > 0, "%d calls were not kept", lost)
	require.Equal(t, len(kept), r.Pending())

	err = r.Flush(t.Context()) // the server is away
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	require.ErrorContains(t, err, "no space left", "a full disk has to be told")
	if gap {
		require.ErrorContains(t, err, "records of run "+r.UID+" are missing from its journal")
	} else {
		require.NotContains(t, err.Error(), "missing")
	}
	list, err := mlops.Collect(mlflow.Backlogs(dir))
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, lost, list[0].Dropped, "the gap has to be counted where mlopsctl sync --status looks")
	require.Less(t, list[0].Bytes, int64(1<<20))

	server.come()
	require.NoError(t, r.Flush(t.Context()), "all that was acknowledged gets through, and the gap was told before")
	require.Equal(t, kept, server.seen)
	require.Zero(t, r.Pending())
	before := lost
	log(calls, calls+1000)
	require.Equal(t, before, lost, "there is room again")
	require.NoError(t, r.End(t.Context(), nil))
	require.Equal(t, kept, server.seen)
	list, err = mlops.Collect(mlflow.Backlogs(dir))
	require.NoError(t, err)
	if !gap {
		require.Empty(t, list)
		return
	}
	require.Len(t, list, 1, "a journal with a gap stays until a user has looked")
	require.Equal(t, lost, list[0].Dropped)
	require.Zero(t, list[0].Waiting)
}

func TestAReadOnlyDiskKeepsNothingFromTheServer(t *testing.T) {
	needsServer(t)
	dir := filepath.Join(smallDisk(t, "ro,size=1m"), "journals")
	require.Error(t, os.MkdirAll(dir, 0o700), "the disk has to be read-only")
	s := sharedServer(t)
	p := startProgram(t, job{Do: "log", URL: s.URL, Journals: dir, Experiment: "0", To: 500, End: "end", EndTimeout: 2 * time.Minute})
	require.NoError(t, p.wait())
	left, ok := p.word("ended")
	require.True(t, ok)
	require.Equal(t, "0", left)
	e := expect(p)
	require.Len(t, e.acked, 500)
	e.status = []mlflow.RunStatus{mlflow.RunFinished}
	uid, _ := p.word("uid")
	c := s.Client()
	e.verify(t, c, runOf(t, c, "0", uid))
}
