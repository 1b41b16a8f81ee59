package mlflow

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/spool"
)

// one is a server with one run, whose requests that change something are kept.
type one struct {
	mu      sync.Mutex
	deleted bool
	done    []string
}

func (o *one) RoundTrip(req *http.Request) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	body := ""
	if req.Body != nil {
		b, _ := io.ReadAll(req.Body)
		body = string(b)
	}
	name := req.URL.Path[strings.LastIndex(req.URL.Path, "/")+1:]
	stage := "active"
	if o.deleted {
		stage = "deleted"
	}
	run := fmt.Sprintf(`{"info":{"run_id":"r1","experiment_id":"0","status":"RUNNING","lifecycle_stage":%q,"artifact_uri":"mlflow-artifacts:/0/r1/artifacts"},"data":{"tags":[{"key":"mlops.run_uid","value":"%s"}]}}`, stage, strings.Repeat("ab", 16))
	answer := "{}"
	switch {
	case name == "get":
		answer = `{"run":` + run + `}`
	case name == "search" && strings.Contains(req.URL.Path, "/runs/"):
		answer = `{"runs":[` + run + `]}`
	default:
		o.done = append(o.done, name+" "+body)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: req}, nil
}

// leave writes a journal as a program does that is gone then.
func leave(t *testing.T, c *Client, h head, rs ...record) {
	t.Helper()
	h.Server = c.out.server()
	j := c.out.newJournal(h)
	for _, r := range rs {
		require.NoError(t, j.Append(r.appendTo(nil)))
	}
	require.NoError(t, j.Close())
}

func TestARunThatWasDeletedIsNotMadeAgain(t *testing.T) {
	server, dir := &one{deleted: true}, t.TempDir()
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: dir}})
	require.NoError(t, err)
	uid := strings.Repeat("ab", 16)
	leave(t, c, head{UID: uid, Owner: true, Create: &create{Experiment: experimentRef{ID: "0"}}}, record{kind: metricRecord, key: "loss"})
	list, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.ErrorIs(t, list[0].Err, mlops.ErrInvalid)
	require.ErrorContains(t, list[0].Err, "run r1 is deleted; restore it first")
	require.Empty(t, server.done, "a user deleted the run, and Sync brought it back")
	kept, err := mlops.Collect(Backlogs(dir))
	require.NoError(t, err)
	require.Len(t, kept, 1, "what was logged waits for a decision")
	require.NoError(t, kept[0].Discard())
}

func TestWhatAnEarlierProgramLeftIsSentBeforeWhatIsNewer(t *testing.T) {
	server := &one{}
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	uid := strings.Repeat("ab", 16)
	leave(t, c, head{UID: uid, Run: "r1"}, record{kind: tagRecord, key: "stage", text: "old"}, record{kind: endRecord, text: string(RunFailed), millis: 1})
	r, err := c.ResumeRun(t.Context(), uid, RunOptions{KeepStatus: true})
	require.NoError(t, err)
	require.NoError(t, r.SetTag(t.Context(), "stage", "new"))
	require.NoError(t, r.Flush(t.Context()))
	require.NoError(t, r.Close())
	require.Len(t, server.done, 3)
	require.Contains(t, server.done[0], "old")
	require.Contains(t, server.done[1], RunFailed)
	require.Contains(t, server.done[2], "new")
}

func TestAnArtifactThatWasSetAsideIsSentBeforeWhatIsNewer(t *testing.T) {
	server := &one{}
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	uid := strings.Repeat("ab", 16)
	file := func(text string) record { return record{kind: blobRecord, key: "a.txt", blob: []byte(text)} }
	leave(t, c, head{UID: uid, Run: "r1"}, record{kind: metricRecord, key: "loss"}, file("third"))
	leave(t, c, head{UID: uid, Run: "r1", Aside: true}, file("first"))
	leave(t, c, head{UID: uid, Run: "r1", Aside: true}, file("second"))
	leave(t, c, head{UID: strings.Repeat("cd", 16), Run: "r1", Aside: true}, file("alone"))
	list, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	var sent []string
	for _, d := range server.done {
		if _, text, ok := strings.Cut(d, "a.txt "); ok {
			sent = append(sent, text)
		}
	}
	require.Contains(t, sent, "alone")
	sent = slices.DeleteFunc(sent, func(s string) bool { return s == "alone" })
	require.Equal(t, []string{"first", "second", "third"}, sent, "the server has the artifact as it was logged last")
	total := 0
	for _, b := range list {
		require.NoError(t, b.Err)
		total += b.Sent
	}
	require.GreaterOrEqual(t, total, 5)
	kept, err := mlops.Collect(Backlogs(c.out.opt.Dir))
	require.NoError(t, err)
	require.Empty(t, kept)
}

func TestWhoResumesARunSendsWhatWasSetAsideFirst(t *testing.T) {
	server := &one{}
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	uid := strings.Repeat("ab", 16)
	file := func(text string) record { return record{kind: blobRecord, key: "a.txt", blob: []byte(text)} }
	leave(t, c, head{UID: uid, Run: "r1"}, file("second"))
	leave(t, c, head{UID: uid, Run: "r1", Aside: true}, file("first"))
	r, err := c.ResumeRun(t.Context(), uid, RunOptions{KeepStatus: true})
	require.NoError(t, err)
	require.NoError(t, r.LogText(t.Context(), "third", "a.txt"))
	require.NoError(t, r.Flush(t.Context()))
	require.NoError(t, r.Close())
	require.Equal(t, []string{"a.txt first", "a.txt second", "a.txt third"}, server.done)
}

func TestAJournalForAnotherServerIsNotSentHere(t *testing.T) {
	server := &one{}
	dir := t.TempDir()
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: dir}})
	require.NoError(t, err)
	uid := strings.Repeat("ab", 16)
	j := c.out.newJournal(head{Server: "http://other.invalid", UID: uid, Run: "r1"})
	require.NoError(t, j.Append(record{kind: tagRecord, key: "theirs", text: "1"}.appendTo(nil)))
	require.NoError(t, j.Close())
	r, err := c.ResumeRun(t.Context(), uid, RunOptions{KeepStatus: true})
	require.NoError(t, err)
	require.NoError(t, r.SetTag(t.Context(), "ours", "1"))
	require.NoError(t, r.Flush(t.Context()))
	require.NoError(t, r.Close())
	require.NotContains(t, fmt.Sprint(server.done), "theirs")
	kept, err := mlops.Collect(Backlogs(dir))
	require.NoError(t, err)
	require.Len(t, kept, 1, "it waits for its own server")
}

func TestArtifactsWaitBehindOlderOnesThatAreNotSent(t *testing.T) {
	failing := true
	s := &ill{fails: func(path, body string) bool { return failing && strings.Contains(path, "mlflow-artifacts/artifacts") }}
	c := illClient(t, s)
	uid := strings.Repeat("ab", 16)
	file := func(text string) record { return record{kind: blobRecord, key: "a.txt", blob: []byte(text)} }
	leave(t, c, head{UID: uid, Run: "r1"}, record{kind: metricRecord, key: "loss", millis: 1}, file("third"))
	leave(t, c, head{UID: uid, Run: "r1", Aside: true}, file("first"))
	leave(t, c, head{UID: uid, Run: "r1", Aside: true}, file("second"))
	_, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Contains(t, strings.Join(s.got, "\n"), `"key":"loss"`, "metrics do not wait for artifacts")
	require.NotContains(t, strings.Join(s.got, "\n"), "a.txt ")
	failing = false
	for range 3 {
		_, err = c.Sync(t.Context(), SyncOptions{})
		require.NoError(t, err)
	}
	var sent []string
	for _, got := range s.got {
		if i := strings.Index(got, "a.txt "); i >= 0 {
			sent = append(sent, got[i:])
		}
	}
	require.Equal(t, []string{"a.txt first", "a.txt second", "a.txt third"}, sent)
}

func TestAJournalThatAnotherTookIsNobodysError(t *testing.T) {
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: &one{}}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	leave(t, c, head{UID: strings.Repeat("ab", 16), Run: "r1"}, record{kind: tagRecord, key: "a", text: "b"})
	dir, err := c.out.folder()
	require.NoError(t, err)
	for i, err := range spool.Peek(t.Context(), dir, "") {
		require.NoError(t, err)
		held, err := spool.Open(i.Path, spool.Options{})
		require.NoError(t, err)
		_, err = c.out.adopt(t.Context(), i, nil, nil)
		require.ErrorIs(t, err, errTaken)
		require.NoError(t, held.Close())
		require.WithinDuration(t, time.Now(), i.Changed, time.Minute)
		require.NotNil(t, i.Head)
	}
}

func TestAJournalOfANewerFormIsLeftAloneAndSaid(t *testing.T) {
	server := &one{}
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	leave(t, c, head{UID: "head", Run: "r1", Form: journalForm + 1}, record{kind: tagRecord, key: "new", text: "1"})
	leave(t, c, head{UID: "record", Run: "r1"}, record{kind: tagRecord, key: "known", text: "1"}, record{kind: 200}, record{kind: tagRecord, key: "new", text: "1"})
	leave(t, c, head{UID: "first", Run: "r1", Form: journalForm}, record{kind: tagRecord, key: "today", text: "1"})
	list, err := c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	require.Len(t, list, 3)
	for _, b := range list {
		if b.Run == "first" {
			require.NoError(t, b.Err)
			continue
		}
		require.ErrorIs(t, b.Err, mlops.ErrUnsupported)
		require.ErrorContains(t, b.Err, "left alone")
		require.Zero(t, b.Refused, "a newer program's record is not refused for good")
	}
	require.NotContains(t, fmt.Sprint(server.done), "new")
	require.Contains(t, fmt.Sprint(server.done), "today")
	kept, err := mlops.Collect(Backlogs(c.out.opt.Dir))
	require.NoError(t, err)
	require.Len(t, kept, 2)
	for _, b := range kept {
		require.NotZero(t, b.Waiting)
	}
}

func TestAJournalIsFoundByUIDAndByID(t *testing.T) {
	server := &one{}
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: server}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	r, err := c.StartRun(t.Context(), Experiment{ID: "0"}, RunOptions{})
	require.NoError(t, err)
	_, err = r.ID(t.Context())
	require.NoError(t, err)
	leave(t, c, head{UID: "u2", Run: "r2"}, record{kind: tagRecord, key: "a", text: "1"})
	found := map[string]bool{}
	for b, err := range Backlogs(c.out.opt.Dir) {
		require.NoError(t, err)
		for _, name := range []string{r.UID, "u2", "r2", "r3", ""} {
			found[name] = found[name] || b.Of(name)
		}
	}
	require.Equal(t, map[string]bool{r.UID: true, "u2": true, "r2": true, "r3": false, "": false}, found)
	require.NoError(t, r.Discard())
}

func TestWhatLiesAboutIsLookedThroughOnlyBesideARunThatIsThereAndNotAfterClose(t *testing.T) {
	var looked atomic.Int32
	away := true
	dir := t.TempDir()
	start := func(onLook func(*Client)) {
		c := faulty(t, Journal{Dir: dir}, func(string, string) (int, error) {
			if away {
				return 0, refusedDial
			}
			return 200, nil
		})
		c.onPass = func(place string) {
			if place == "look" {
				looked.Add(1)
				onLook(c)
			}
		}
		r := startOne(t, c)
		require.NoError(t, r.LogMetric(t.Context(), 1, "m", 1))
		err := r.Flush(t.Context())
		require.Equal(t, away, err != nil)
		if !away {
			c.out.adopting.Wait()
		}
		_ = c.Close()
	}
	for i := range 200 {
		leave(t, faulty(t, Journal{Dir: dir}, nil), head{UID: fmt.Sprintf("left%d", i), Run: "r1"}, record{kind: metricRecord, key: "m", millis: 1})
	}
	start(func(*Client) {})
	require.Zero(t, looked.Load(), "the server is away: there is nothing to be done with what others left")
	away = false
	start(func(c *Client) { c.out.stopAdopting() }) // as Close does
	require.EqualValues(t, 1, looked.Load(), "Close waits while journals are looked through")
}
