package airflow_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/airflow"
)

const counted = 24

func counting(id string) airflow.DAGSpec {
	return airflow.DAGSpec{ID: id, Tasks: []airflow.TaskSpec{{ID: "count",
		Bash: fmt.Sprintf("for i in $(seq 1 %d); do echo line $i; echo; [ $((i %% 6)) = 0 ] && sleep 1; done; true", counted)}}}
}

// requireCounted checks that each line was told once.
func requireCounted(t *testing.T, lines []airflow.LogLine) {
	t.Helper()
	got, dated := map[string]int{}, map[string]int{}
	for _, l := range lines {
		got[l.Event]++
		dated[l.Time.String()+l.Event]++
	}
	for l, n := range dated {
		require.Equal(t, 1, n, "told again: %s", l)
	}
	for i := 1; i <= counted; i++ {
		require.Equal(t, 1, got[fmt.Sprintf("line %d", i)], "line %d", i)
	}
	require.Equal(t, 1, got["Command exited with return code 0"])
	require.Equal(t, 2, got["::endgroup::"], "the last lines are written after the task says that it is done")
}

func TestARunningTasksLogIsFollowedToItsEnd(t *testing.T) {
	s, c, ctx := open(t)
	dir := dags(t, s)
	d := counting(s.Name("counting"))
	deploy(t, ctx, c, dir, d)
	runID := s.Name("run")
	_, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: runID})
	require.NoError(t, err)

	pass := &tap{next: s.HTTP.Transport}
	var lines []airflow.LogLine
	for line, err := range client(t, s, pass, s.Auth).Logs(ctx, d.ID, runID, "count", airflow.LogOptions{Follow: true}) {
		require.NoError(t, err)
		lines = append(lines, line)
	}
	requireCounted(t, lines)
	base := "/api/v2/dags/" + d.ID + "/dagRuns/" + runID + "/taskInstances/count"
	require.Greater(t, pass.count("GET "+base+"/logs/1"), 4, "the log was not read while the task ran")

	var now []airflow.LogLine
	for line, err := range c.Logs(ctx, d.ID, runID, "count", airflow.LogOptions{}) {
		require.NoError(t, err)
		now = append(now, line)
	}
	require.ElementsMatch(t, now, lines, "followed and read at once, the log differs")

	file := filepath.Join(filepath.Dir(dir), "logs", "dag_id="+d.ID, "run_id="+runID, "task_id=count", "attempt=1.log")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Logf("the log file is out of reach, compared with the server's answer only")
		return
	}
	n := 0
	for in := bufio.NewScanner(bytes.NewReader(b)); in.Scan(); n++ {
		var on airflow.LogLine
		require.NoError(t, json.Unmarshal(in.Bytes(), &on))
		require.Equal(t, on.Event, lines[n].Event, "line %d of the file", n+1)
		require.True(t, on.Time.Equal(lines[n].Time))
	}
	require.Len(t, lines, n, "the file has %d lines", n)
}

// The server counts lines of a log that it sorts by time at each look: a late
// line with an early date moves one line out of the next page and an old one
// into it. And a line may be read while it is being written.
func TestShiftedAndTornPagesLoseAndRepeatNoLine(t *testing.T) {
	s, c, ctx := open(t)
	d := counting(s.Name("shifted"))
	deploy(t, ctx, c, dags(t, s), d)
	runID := s.Name("run")
	_, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: runID})
	require.NoError(t, err)

	harmed, last := 0, json.RawMessage(nil)
	harm := func(n int, req *http.Request, send func(*http.Request) (*http.Response, error)) (*http.Response, error) {
		resp, err := send(req)
		if err != nil || !strings.HasSuffix(req.URL.Path, "/logs/1") || strings.Contains(req.Header.Get("Accept"), "ndjson") {
			return resp, err
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		var p struct {
			Content []json.RawMessage `json:"content"`
			Token   *string           `json:"continuation_token"`
		}
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, err
		}
		if k := len(p.Content); req.URL.Query().Get("token") != "" && k > 1 {
			p.Content[0] = last // shifted by one: this came before, and the first is gone
			harmed++
		}
		if k := len(p.Content); k > 0 {
			last = p.Content[k-1]
			if n%2 == 1 && p.Token != nil {
				half, err := json.Marshal(map[string]string{"event": string(last[:len(last)/2])})
				if err != nil {
					return nil, err
				}
				p.Content[k-1] = half
			}
		}
		if b, err = json.Marshal(p); err != nil {
			return nil, err
		}
		resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		resp.Header.Del("Content-Length")
		return resp, nil
	}
	// When played, the page after a torn one is asked for again with the old
	// token: the tape holds it, for it was recorded in the same way.
	var lines []airflow.LogLine
	for line, err := range client(t, s, &tap{next: s.HTTP.Transport, harm: harm}, s.Auth).Logs(ctx, d.ID, runID, "count", airflow.LogOptions{Follow: true}) {
		require.NoError(t, err)
		lines = append(lines, line)
	}
	require.Positive(t, harmed, "no page was shifted: the test proves nothing")
	requireCounted(t, lines)
}
