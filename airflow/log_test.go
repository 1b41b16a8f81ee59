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
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
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

func TestTheLogsOfARunComeByTime(t *testing.T) {
	s, c, ctx := open(t)
	d := airflow.DAGSpec{ID: s.Name("logs"), Tasks: []airflow.TaskSpec{
		{ID: "first", Bash: "echo mark one; sleep 1; echo mark two >&2"},
		{ID: "parts", Bash: `echo "mark part $MLOPS_ITEM"; exit $MLOPS_ITEM`, Each: []any{0, 1}, After: []string{"first"}},
		{ID: "never", Bash: "true", After: []string{"parts"}},
	}}
	deploy(t, ctx, c, dags(t, s), d)
	run, err := c.Trigger(ctx, d.ID, airflow.TriggerOptions{RunID: s.Name("run")})
	require.NoError(t, err)
	marks := func(tasks []string, opt airflow.LogOptions) (out []string) {
		t.Helper()
		last := time.Time{}
		for l, err := range c.RunLogs(ctx, d.ID, run.ID, tasks, opt) {
			require.NoError(t, err)
			if !opt.Follow && !l.Time.IsZero() {
				require.False(t, l.Time.Before(last), "%v is before the line before it, at %v", l, last)
				last = l.Time
			}
			if _, mark, ok := strings.Cut(l.Event, "mark "); ok && !strings.Contains(l.Event, "echo") {
				out = append(out, fmt.Sprintf("%s[%d] %s", l.TaskID, l.MapIndex, mark))
			}
		}
		return out
	}
	all := []string{"first[-1] one", "first[-1] two", "parts[0] part 0", "parts[1] part 1"}
	require.ElementsMatch(t, all, marks(nil, airflow.LogOptions{Follow: true}), "while it runs")
	require.ElementsMatch(t, all, marks(nil, airflow.LogOptions{}))
	require.Equal(t, all[:2], marks([]string{"first"}, airflow.LogOptions{}))
	require.ElementsMatch(t, all[2:], marks([]string{"parts"}, airflow.LogOptions{Follow: true}))
	require.Equal(t, all[3:], marks([]string{"parts"}, airflow.LogOptions{MapIndex: new(1)}))
	require.Empty(t, marks([]string{"never"}, airflow.LogOptions{}))
	require.Equal(t, all[1:2], marks(nil, airflow.LogOptions{LogFilter: airflow.LogFilter{Grep: regexp.MustCompile("^mark two")}}))
	require.Empty(t, marks(nil, airflow.LogOptions{LogFilter: airflow.LogFilter{Since: run.RunAfter.Add(24 * time.Hour)}}))
	failed := 0
	for l, err := range c.RunLogs(ctx, d.ID, run.ID, nil, airflow.LogOptions{LogFilter: airflow.LogFilter{Level: "error"}}) {
		require.NoError(t, err)
		require.Contains(t, []string{"error", "critical", ""}, l.Level)
		require.Equal(t, "parts[1]", fmt.Sprintf("%s[%d]", l.TaskID, l.MapIndex))
		failed++
	}
	require.Positive(t, failed)
	_, err = mlops.Collect(c.RunLogs(ctx, d.ID, run.ID, []string{"none"}, airflow.LogOptions{}))
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = mlops.Collect(c.RunLogs(ctx, d.ID, run.ID, nil, airflow.LogOptions{LogFilter: airflow.LogFilter{Level: "loud"}}))
	require.ErrorIs(t, err, mlops.ErrInvalid)
}
