package mlflow

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestSyncSendsWhatWasLeftAndLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		down := true
		c := faulty(t, Journal{Dir: dir}, func(path, body string) (int, error) {
			if down {
				return 0, refusedDial
			}
			return 200, nil
		})
		r := startOne(t, c)
		require.NoError(t, r.LogMetric(t.Context(), 1, "a", 1))
		require.ErrorIs(t, r.Close(), mlops.ErrUnavailable)
		down = false
		list, err := c.Sync(t.Context(), SyncOptions{})
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.NoError(t, list[0].Err)
		left, err := mlops.Collect(Backlogs(dir))
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// refusing is a server with one run, which refuses the tag "bad".
type refusing struct {
	status   RunStatus
	statuses []RunStatus
}

func (r *refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	var body string
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	status, answer := 200, fmt.Sprintf(`{"run":{"info":{"run_id":"r1","experiment_id":"0","status":%q}}}`, r.status)
	switch {
	case strings.HasSuffix(req.URL.Path, "log-batch") && strings.Contains(body, `"bad"`):
		status, answer = 400, `{"error_code":"INVALID_PARAMETER_VALUE","message":"no"}`
	case strings.HasSuffix(req.URL.Path, "search"):
		answer = `{"runs":[` + strings.TrimSuffix(strings.TrimPrefix(answer, `{"run":`), "}") + `]}`
	case strings.HasSuffix(req.URL.Path, "runs/update"):
		var u struct{ Status RunStatus }
		if err := json.Unmarshal([]byte(body), &u); err != nil {
			return nil, err
		}
		r.status, r.statuses = u.Status, append(r.statuses, u.Status)
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
}

func TestAJournalThatStaysEndsItsRunOnlyOnce(t *testing.T) {
	for _, ended := range []bool{true, false} {
		t.Run(fmt.Sprint(ended), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &refusing{status: RunRunning}
				dir := t.TempDir()
				c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: dir}})
				require.NoError(t, err)
				r := startOne(t, c)
				synctest.Wait() // it looked for what others left
				require.NoError(t, r.SetTag(t.Context(), "bad", "x"))
				want := []RunStatus{RunKilled}
				if ended {
					require.ErrorContains(t, r.End(t.Context(), nil), "INVALID_PARAMETER_VALUE")
					want = []RunStatus{RunFinished}
				} else {
					require.ErrorContains(t, r.Flush(t.Context()), "INVALID_PARAMETER_VALUE")
					r.s.stop() // as if the program died
					<-r.s.over
					require.NoError(t, r.s.j.Close())
					c.out.remove(r.s)
				}
				require.NoError(t, c.Close())
				for i := range 2 { // and another program resumes the run after the first
					list, err := c.Sync(t.Context(), SyncOptions{})
					require.NoError(t, err)
					if i == 0 && !ended {
						require.Len(t, list, 1)
						require.NoError(t, list[0].Err)
						require.Equal(t, 1, list[0].Refused)
					} else {
						require.Empty(t, list, "no program has to look after it any more")
					}
					require.Equal(t, want, server.statuses)
					server.status = RunRunning
				}
				kept, err := mlops.Collect(Backlogs(dir))
				require.NoError(t, err)
				require.Len(t, kept, 1, "what was refused stays")
				require.Equal(t, 1, kept[0].Refused)
			})
		})
	}
}

func TestOnlyAnotherOwnerKeepsARunAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &refusing{status: RunRunning}
		c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: t.TempDir()}})
		require.NoError(t, err)
		r := startOne(t, c)
		require.NoError(t, r.LogMetric(t.Context(), 1, "a", 1))
		guest := c.newRun(t.Context(), head{Server: c.out.server(), UID: r.UID, Run: r.UID}, whereabouts{id: "r1"}, RunOptions{})
		require.NoError(t, r.Flush(t.Context()))
		r.s.stop()
		<-r.s.over
		require.NoError(t, r.s.j.Append(record{kind: metricRecord, key: "b", millis: 1}.appendTo(nil)))
		require.NoError(t, r.s.j.Close())
		_, err = c.Sync(t.Context(), SyncOptions{})
		require.NoError(t, err)
		require.Equal(t, []RunStatus{RunKilled}, server.statuses, "one who logs to a run does not keep it alive")
		require.NoError(t, guest.Close(), "all was sent")
		_ = c.Close() // the owner died
	})
}
