package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// poisons are records on which MLflow on PostgreSQL and a local disk fails every
// time, or that it takes for another address. Journals of earlier programs hold
// such; this one does not write them any more.
var poisons = []record{
	{kind: paramRecord, key: "poison/param", text: "a\x00b"},
	{kind: tagRecord, key: "poison/tag", text: "a\x00b"},
	{kind: metricRecord, key: "poison/metric", value: 1, millis: 1, model: "m-\x00"},
	{kind: inputRecord, text: `{"dataset":{"name":"poison\u0000","digest":"d","source_type":"local","source":"{}"}}`},
	{kind: blobRecord, key: "good/first.txt/below", blob: []byte("x")},
	{kind: blobRecord, key: "good", blob: []byte("x")},
	{kind: blobRecord, key: "poison/" + strings.Repeat("n", 304), blob: []byte("x")},
	{kind: blobRecord, key: "poison/" + strings.Repeat("ü", 128), blob: []byte("x")},
	{kind: blobRecord, key: "poison/a\nb", blob: []byte("x")},
	{kind: tableRecord, key: "good/first.txt/table.json", blob: []byte(`{"columns":["a"],"data":[[1]]}`)},
}

// mixed puts each poison between good records, n of a kind.
func mixed(n int) []record {
	rs := []record{{kind: blobRecord, key: "good/first.txt", blob: []byte("1")}}
	good := func(i int) {
		rs = append(rs, record{kind: metricRecord, key: "good", value: float64(i), millis: int64(1_700_000_000_000 + i), step: int64(i)},
			record{kind: paramRecord, key: fmt.Sprintf("good/p%d", i), text: fmt.Sprint(i)}, record{kind: tagRecord, key: fmt.Sprintf("good/t%d", i), text: fmt.Sprint(i)})
		if i%5 == 0 {
			rs = append(rs, record{kind: blobRecord, key: fmt.Sprintf("good/%d.txt", i), blob: []byte(fmt.Sprint(i))})
		}
	}
	for i := range n {
		good(i)
		if i%5 == 2 && i/5 < len(poisons) {
			rs = append(rs, poisons[i/5])
		}
	}
	return rs
}

// verifyMixed checks that a run has all good records of mixed, and none else.
func verifyMixed(t *testing.T, c *Client, id string, n int) {
	t.Helper()
	info, err := c.RunInfo(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, RunFinished, info.Status, "the end was held back")
	require.Len(t, info.Params, n)
	require.NotContains(t, info.Tags, probeTag)
	history, err := mlops.Collect(c.MetricHistory(t.Context(), id, "good"))
	require.NoError(t, err)
	require.Len(t, history, n)
	for i := range n {
		require.Equal(t, fmt.Sprint(i), info.Tags[fmt.Sprintf("good/t%d", i)])
	}
	list, err := mlops.Collect(c.Artifacts(t.Context(), id, "good"))
	require.NoError(t, err)
	require.Len(t, list, 1+(n+4)/5)
	list, err = mlops.Collect(c.Artifacts(t.Context(), id, ""))
	require.NoError(t, err)
	require.Len(t, list, 1, "%v", list)
}

// live is a session with the real server of today's line, on PostgreSQL.
func live(t *testing.T) *cassette.Session {
	t.Helper()
	if !cassette.Live() {
		t.Skip("not live: MLflow on PostgreSQL is needed (make test)")
	}
	s := cassette.Open(t, "mlflow")
	since(t, s, "3.17", "the answers that this suite is about")
	return s
}

// LiveSession is live for the suites that see the package from outside.
func LiveSession(t *testing.T) *cassette.Session { return live(t) }

// LogPoison logs a record on which MLflow fails every time, below the methods
// that refuse such records. Its name, in errors too, ends in PoisonName(n).
func LogPoison(r *Run, n int) error { return r.s.add("test", poison(n)) }

// PoisonName is what no two poisons of a run share.
func PoisonName(n int) string { return fmt.Sprintf("poison-%d.", n) }

// poison is the nth poison of a run that has an artifact base.txt.
func poison(n int) record {
	name := PoisonName(n)
	switch n % 7 {
	case 0:
		return record{kind: paramRecord, key: name, text: "a\x00b"}
	case 1:
		return record{kind: blobRecord, key: "base.txt/" + name, blob: []byte("x")}
	case 2:
		return record{kind: tagRecord, key: name, text: "a\x00b"}
	case 3:
		return record{kind: inputRecord, text: fmt.Sprintf(`{"dataset":{"name":"%s\u0000","digest":"d","source_type":"local","source":"{}"}}`, name)}
	case 4:
		return record{kind: metricRecord, key: name, value: 1, millis: 1, model: "m-\x00"}
	case 5:
		return record{kind: blobRecord, key: strings.Repeat("n", 304) + name, blob: []byte("x")}
	}
	return record{kind: blobRecord, key: "a\nb" + name, blob: []byte("x")}
}

func TestPoisonedJournalsHoldBackNothingElse(t *testing.T) {
	t.Parallel()
	s := live(t)
	c := clientOf(t, s, s.HTTP)
	const n = 60
	var uids []string
	for i := range 3 { // the first has no poison at its end, the last nothing else
		exp, err := c.CreateExperiment(t.Context(), s.Name(fmt.Sprintf("poison-%d", i)), ExperimentOptions{})
		require.NoError(t, err)
		uid := c.newUID()
		uids = append(uids, uid)
		h := head{UID: uid, Owner: true, Create: &create{Experiment: experimentRef{ID: exp}, Start: 1}}
		if i == 1 { // the description of the run itself
			h.Create.Name, h.Create.Tags = "n\x00ame", map[string]string{"fine": "1", "foul": "\x00"}
		}
		leave(t, c, h, append(mixed(n), record{kind: endRecord, text: string(RunFinished), millis: 2})...)
	}
	begin := time.Now()
	list, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Less(t, time.Since(begin), 3*time.Minute)
	require.Len(t, list, 3)
	for i, b := range list {
		require.NoError(t, b.Err)
		require.Zero(t, b.Waiting)
		want := len(poisons)
		if i == 1 {
			want += 2
		}
		require.Equal(t, want, b.Refused, "each poison is refused once")
		r, ok, err := c.runByUID(t.Context(), []string{}, uids[i])
		_ = ok
		if err != nil || !ok {
			r, err = c.RunInfo(t.Context(), uids[i])
			require.NoError(t, err)
		}
		verifyMixed(t, c, r.ID, n)
		if i == 1 {
			require.Equal(t, "1", r.Tags["fine"])
		}
	}
	told := map[string]int{}
	for b, err := range Backlogs(c.out.opt.Dir) {
		require.NoError(t, err)
		require.Zero(t, b.Waiting)
		for why, err := range b.Refusals() {
			require.NoError(t, err)
			told[b.Run+" "+why]++
		}
	}
	require.Len(t, told, 3*len(poisons)+2)
	for why, n := range told {
		require.Equal(t, 1, n, "%s is told more than once", why)
	}
	again, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Empty(t, again, "what was refused is done with")
}

func TestAProgramGetsPastPoisonByItself(t *testing.T) {
	t.Parallel()
	s := live(t)
	c := clientOf(t, s, s.HTTP)
	c.linger = 0
	c.pause = pause
	run, _ := startRun(t, s, c)
	const n = 60
	for _, r := range append(mixed(n), record{kind: fileRecord, key: "poison/" + strings.Repeat("f", 256), text: attach(t, run)}) {
		require.NoError(t, run.s.add("test", r))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	err := run.s.flush(ctx, stubborn)
	require.NoError(t, err)
	require.Zero(t, run.Pending())
	err = run.End(ctx, nil)
	for _, what := range []string{"poison/param", "poison/tag", "poison/metric", "poison", "first.txt/below", "artifact \"good\"", "nnn", "fff", "table.json"} {
		require.ErrorContains(t, err, what)
	}
	id, ierr := run.ID(ctx)
	require.NoError(t, ierr)
	verifyMixed(t, c, id, n)
}

func attach(t *testing.T, run *Run) string {
	t.Helper()
	name, err := run.s.j.AttachFile(strings.NewReader("large"))
	require.NoError(t, err)
	return name
}

// ill is a server that fails on some requests and answers others.
type ill struct {
	mu    sync.Mutex
	fails func(path, body string) bool
	got   []string
}

func (s *ill) cure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = func(string, string) bool { return false }
}

func (s *ill) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, _ := io.ReadAll(req.Body)
		body = string(b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status, answer := 200, `{"run":{"info":{"run_id":"r1","experiment_id":"0","artifact_uri":"mlflow-artifacts:/0/r1/artifacts","status":"RUNNING"}}}`
	if s.fails(req.Method+" "+req.URL.Path, body) {
		status, answer = 500, `{"error_code":"INTERNAL_ERROR","message":"no"}`
	} else {
		s.got = append(s.got, req.Method+" "+req.URL.Path+" "+body)
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
}

func illClient(t *testing.T, s *ill) *Client {
	t.Helper()
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: s}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestAServerThatStoresNothingMakesNothingRefused(t *testing.T) {
	for name, fails := range map[string]func(path, body string) bool{
		"its database takes nothing":     func(path, _ string) bool { return strings.HasPrefix(path, "POST") },
		"its artifacts take nothing":     func(path, _ string) bool { return strings.HasPrefix(path, "PUT") },
		"it fails, but for one question": func(path, _ string) bool { return !strings.Contains(path, "experiments/search") },
		"it fails on tags and batches": func(path, _ string) bool {
			return strings.Contains(path, "log-batch") || strings.Contains(path, "set-tag")
		},
		"it fails on everything it hears": func(string, string) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			s := &ill{fails: fails}
			c := illClient(t, s)
			uid := strings.Repeat("ab", 16)
			leave(t, c, head{UID: uid, Run: "r1"}, record{kind: metricRecord, key: "m", millis: 1}, record{kind: blobRecord, key: "a.txt", blob: []byte("x")},
				record{kind: paramRecord, key: "p", text: "1"}, record{kind: endRecord, text: string(RunFinished), millis: 1})
			list, err := c.Sync(t.Context(), SyncOptions{})
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.ErrorIs(t, list[0].Err, mlops.ErrUnavailable)
			require.Zero(t, list[0].Refused, "the server is to blame, not the records")
			require.NotZero(t, list[0].Waiting)
			s.cure()
			list, err = c.Sync(t.Context(), SyncOptions{})
			require.NoError(t, err)
			require.NoError(t, list[0].Err)
			all := strings.Join(s.got, "\n")
			for _, want := range []string{`"key":"m"`, "a.txt x", `"key":"p"`, `"FINISHED"`} {
				require.Contains(t, all, want)
			}
			left, err := mlops.Collect(Backlogs(c.out.opt.Dir))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestArtifactsThatAreNotTakenHoldBackNeitherMetricsNorTheEnd(t *testing.T) {
	s := &ill{fails: func(path, _ string) bool { return strings.HasPrefix(path, "PUT") }}
	c := illClient(t, s)
	c.linger = 0
	c.pause = pause
	r, err := c.StartRun(t.Context(), Experiment{ID: "0"}, RunOptions{EndTimeout: 2 * time.Second})
	require.NoError(t, err)
	require.NoError(t, r.LogText(t.Context(), "one", "a.txt"))
	require.NoError(t, r.LogText(t.Context(), strings.Repeat("two", 100_000), "b.txt"))
	require.NoError(t, r.LogMetric(t.Context(), 1, "m", 1))
	require.NoError(t, r.End(t.Context(), nil), "the artifacts wait in a journal of their own")
	require.Equal(t, 2, r.Pending())
	require.NoError(t, r.Kept())
	s.mu.Lock()
	all := strings.Join(s.got, "\n")
	s.mu.Unlock()
	require.Contains(t, all, `"key":"m"`)
	require.Contains(t, all, `"FINISHED"`)
	err = r.Close()
	require.ErrorContains(t, err, "2 records of run "+r.UID+" were not sent")
	require.NoError(t, c.Close())
	s.cure()
	list, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Len(t, list, 1, "what was sent is not sent again")
	require.NoError(t, list[0].Err)
	s.mu.Lock()
	defer s.mu.Unlock()
	all = strings.Join(s.got, "\n")
	require.Contains(t, all, "a.txt one")
	require.Contains(t, all, "b.txt twotwo")
	require.Equal(t, 1, strings.Count(all, `"FINISHED"`))
}

func TestOneJournalThatFailsDoesNotHoldBackAnother(t *testing.T) {
	s := &ill{fails: func(path, body string) bool { return strings.Contains(body+path, "foul") }}
	c := illClient(t, s)
	leave(t, c, head{UID: "foul", Create: &create{Experiment: experimentRef{Name: "foul"}, Start: 1}}, record{kind: metricRecord, key: "a", millis: 1})
	leave(t, c, head{UID: "second", Run: "r1"}, record{kind: metricRecord, key: "fair", millis: 1})
	s.fails = func(path, body string) bool {
		return strings.Contains(path, "get-by-name") || strings.Contains(body, "foul")
	}
	list, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Len(t, list, 2)
	errs := []error{list[0].Err, list[1].Err}
	require.ErrorIs(t, errors.Join(errs...), mlops.ErrUnavailable)
	require.Contains(t, strings.Join(s.got, "\n"), "fair")
}

func TestAJournalThatTakesLongHoldsUpNoOther(t *testing.T) {
	others := make(chan struct{})
	s := &ill{fails: func(_, body string) bool {
		if strings.Contains(body, "last") {
			close(others)
		}
		return false
	}}
	slow := &slowFor{ill: s, word: "first", until: others}
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: slow}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	for _, name := range []string{"first", "second", "last"} {
		leave(t, c, head{UID: name, Run: "of-" + name}, record{kind: metricRecord, key: name, millis: 1})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	list, err := c.Sync(ctx, SyncOptions{})
	require.NoError(t, err, "the first journal's requests are answered only when the last one was sent")
	require.Len(t, list, 3)
	for i, name := range []string{"first", "second", "last"} {
		require.Equal(t, name, list[i].Run, "the oldest first")
		require.NoError(t, list[i].Err)
	}
}

// slowFor is a server that answers requests with a word in them only later.
type slowFor struct {
	*ill
	word  string
	until chan struct{}
}

func (s *slowFor) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		b, _ := io.ReadAll(req.Body)
		body = string(b)
		req.Body = io.NopCloser(strings.NewReader(body))
	}
	if strings.Contains(body, s.word) {
		select {
		case <-s.until:
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
	return s.ill.RoundTrip(req)
}

func TestTheSearchForPoisonAsksNothingThatItKnows(t *testing.T) {
	asked := 0
	s := &ill{fails: func(_, body string) bool {
		asked++
		return strings.Contains(body, "foul")
	}}
	w := runWriter{illClient(t, s).single(), whereabouts{id: "r1"}}
	rs := make([]record, 512)
	for i := range rs {
		rs[i] = record{kind: metricRecord, key: "fair", step: int64(i)}
	}
	rs[511].key = "foul"
	var found []record
	suspect := func(r record, _ error) { found = append(found, r) }
	known := &mlops.Error{Kind: mlops.ErrUnavailable, Status: 500}
	require.NoError(t, w.split(t.Context(), rs, known, &hunt{reject: suspect, suspect: suspect}))
	require.Equal(t, rs[511:], found)
	require.Equal(t, 9+equalAnswers, asked, "a half that fails although the other did not needs no request of its own")

	rs[511].key, rs[0].key, rs[300].key = "fair", "foul", "foul"
	found = nil
	require.NoError(t, w.split(t.Context(), rs, known, &hunt{reject: suspect, suspect: suspect}))
	require.Equal(t, []record{rs[0], rs[300]}, found)
	require.Subset(t, strings.Split(strings.Join(s.got, `"step":`), `"step":`), []string{"511}]}"}, "each good record is sent")
}
