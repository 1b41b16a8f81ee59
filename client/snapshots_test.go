package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// verdict is a report that Evidently made.
func verdict(t *testing.T) evidently.DriftReport {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "evidently", "report.golden.json"))
	require.NoError(t, err)
	var r evidently.DriftReport
	require.NoError(t, json.Unmarshal(b, &r))
	require.True(t, r.Drifted)
	r.SnapshotID = ""
	return r
}

// drifting is a project whose Evidently service is at url.
func drifting(t *testing.T, home, name, url string, auth mlops.Auth) *Project {
	t.Helper()
	t.Setenv("MLOPS_EVIDENTLY_URL", url)
	t.Setenv("MLOPS_EVIDENTLY_SECRET", string(auth.Token))
	p, err := FromProject(t.Context(), name, In(t.TempDir()), WithHome(home))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// infrastructure is what the environment leads to now, without a project.
func infrastructure(t *testing.T, home string) *Client {
	t.Helper()
	c, err := Open(t.Context(), WithHome(home), In(t.TempDir()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestAVerdictOutlivesItsService(t *testing.T) {
	home := t.TempDir()
	p := drifting(t, home, "wine", "http://127.0.0.1:9", mlops.Auth{Token: "s"})
	r := verdict(t)
	p.keep(t.Context(), &r)
	require.True(t, r.Drifted)
	require.Empty(t, r.SnapshotID)
	require.ErrorIs(t, r.Unsent, mlops.ErrUnavailable)
	info, err := os.Stat(r.Waiting)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "columns and values of data lie in it")
	require.Equal(t, filepath.Join(home, "spool", "evidently"), filepath.Dir(r.Waiting))

	list, err := mlops.Collect(p.WaitingSnapshots())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "wine", list[0].Project)
	require.Equal(t, "http://127.0.0.1:9", list[0].Server)
	require.Equal(t, int64(len(r.Snapshot)), list[0].SizeBytes)

	sent, err := infrastructure(t, home).SyncSnapshots(t.Context(), SnapshotSyncOptions{})
	require.NoError(t, err)
	require.Len(t, sent, 1)
	require.ErrorIs(t, sent[0].Err, mlops.ErrUnavailable)
	require.FileExists(t, r.Waiting)

	t.Setenv("MLOPS_EVIDENTLY_URL", "http://127.0.0.1:10")
	sent, err = infrastructure(t, home).SyncSnapshots(t.Context(), SnapshotSyncOptions{})
	require.NoError(t, err)
	require.ErrorContains(t, sent[0].Err, "it is for http://127.0.0.1:9; set MLOPS_EVIDENTLY_URL")
	require.NoError(t, sent[0].Discard())
	require.NoFileExists(t, r.Waiting)
}

func TestASnapshotThatIsKeptNowhereIsSaidToBe(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	p := drifting(t, home, "wine", "http://127.0.0.1:9", mlops.Auth{Token: "s"})
	require.NoError(t, os.MkdirAll(home, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "spool"), nil, 0o600)) // no folder can be made
	r := verdict(t)
	p.keep(t.Context(), &r)
	require.True(t, r.Drifted, "the verdict stands")
	require.Empty(t, r.Waiting)
	require.ErrorIs(t, r.Unsent, mlops.ErrUnavailable)
	require.ErrorContains(t, r.Unsent, "the snapshot is not kept")

	r.Snapshot = json.RawMessage(`{}`)
	p.keep(t.Context(), &r)
	require.ErrorContains(t, r.Unsent, "the snapshot is not kept")
}

func TestADamagedOrNewerFileHoldsNoOther(t *testing.T) {
	home := t.TempDir()
	q := snapshotQueue(home)
	require.NoError(t, os.MkdirAll(string(q), 0o700))
	for name, text := range map[string]string{
		"a-empty": "", "b-junk": "PAR1\x00\n{}", "c-torn": `{"form":1,"uid":"c"`, "d-nameless": `{"form":1,"uid":"d"}` + "\n{}", "e-newer": `{"form":2,"uid":"e","project":"p"}` + "\n{}",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(string(q), name+".snapshot"), []byte(text), 0o600))
	}
	require.NoError(t, os.WriteFile(filepath.Join(string(q), ".new-killed"), []byte("half"), 0o600))
	_, err := q.add(WaitingSnapshot{UID: "f", Server: "http://127.0.0.1:9", Project: "p", Created: time.Now()}, json.RawMessage(`{}`))
	require.NoError(t, err)
	list, err := q.send(t.Context(), SnapshotSyncOptions{}, nil)
	require.NoError(t, err)
	require.Len(t, list, 6)
	for _, w := range list[:5] {
		require.Error(t, w.Err)
		require.FileExists(t, w.Path)
		require.Contains(t, w.Err.Error(), w.Path)
	}
	require.ErrorContains(t, list[5].Err, "it is for http://127.0.0.1:9")
	newer := 0
	for _, w := range list {
		if strings.Contains(w.Err.Error(), "newer mlopsctl") {
			require.ErrorIs(t, w.Err, mlops.ErrUnsupported)
			newer++
		}
	}
	require.Equal(t, 1, newer)
}

// live opens a lossy proxy before the real service.
func live(t *testing.T) (*cassette.Lossy, *cassette.Session, *evidently.Client) {
	t.Helper()
	if !cassette.Live() {
		t.Skip("needs the real service: only with MLOPS_LIVE=1")
	}
	s := cassette.Open(t, "evidently")
	c, err := evidently.New(evidently.Options{URL: s.URL, Auth: s.Auth})
	require.NoError(t, err)
	return cassette.OpenLossy(t, s.URL), s, c
}

// stored lists the client-made IDs of a project's snapshots, which it deletes.
func stored(t *testing.T, c *evidently.Client, project string) []string {
	t.Helper()
	p, err := c.ProjectByName(t.Context(), project)
	require.NoError(t, err)
	var out []string
	for s, err := range c.Snapshots(t.Context(), p.ID) {
		require.NoError(t, err)
		out = append(out, s.UID)
	}
	require.NoError(t, c.DeleteProject(t.Context(), p.ID))
	return out
}

func TestLiveAWaitingSnapshotIsSentOnce(t *testing.T) {
	l, s, direct := live(t)
	home, name := t.TempDir(), "once-"+fmt.Sprint(time.Now().UnixNano())
	p := drifting(t, home, name, l.URL, s.Auth)

	all := func(*http.Request) bool { return true }
	l.Cut(all)
	var uids []string
	for range 3 {
		r := verdict(t)
		p.keep(t.Context(), &r)
		require.NotEmpty(t, r.Waiting, "%v", r.Unsent)
		uids = append(uids, strings.TrimSuffix(filepath.Base(r.Waiting), ".snapshot"))
	}
	l.Cut(nil)
	l.Lose(func(r *http.Request) bool { return r.Method == "POST" }) // stored, and every answer lost
	sent, err := infrastructure(t, home).SyncSnapshots(t.Context(), SnapshotSyncOptions{})
	require.NoError(t, err)
	require.Len(t, sent, 3)
	require.Positive(t, l.Lost())
	l.Lose(nil)
	var together sync.WaitGroup
	for range 4 {
		together.Go(func() {
			if _, err := infrastructure(t, home).SyncSnapshots(t.Context(), SnapshotSyncOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	r := verdict(t)
	p.keep(t.Context(), &r) // sends what others left
	require.NoError(t, r.Unsent)
	uid, _, err := evidently.SnapshotUID(r.Snapshot)
	require.NoError(t, err)
	waiting, err := mlops.Collect(p.WaitingSnapshots())
	require.NoError(t, err)
	require.Empty(t, waiting)
	require.ElementsMatch(t, append(uids, uid), stored(t, direct, name), "each exactly once")
}

func TestLiveAConnectionThatTheServiceClosedCostsNothing(t *testing.T) {
	l, s, direct := live(t)
	home, name := t.TempDir(), "idle-"+fmt.Sprint(time.Now().UnixNano())
	p := drifting(t, home, name, l.URL, s.Auth)
	cut := false
	l.Cut(func(r *http.Request) bool { // the connection is open, and gone when the snapshot comes
		first := !cut && r.Method == "POST" && strings.Contains(r.URL.Path, "/snapshots/")
		cut = cut || first
		return first
	})
	r := verdict(t)
	p.keep(t.Context(), &r)
	require.NoError(t, r.Unsent)
	require.NotEmpty(t, r.SnapshotID)
	require.True(t, cut)
	require.Len(t, stored(t, direct, name), 1)
}

func TestLiveASnapshotThatIsRefusedHoldsNoOther(t *testing.T) {
	_, s, direct := live(t)
	home, name := t.TempDir(), "refused-"+fmt.Sprint(time.Now().UnixNano())
	drifting(t, home, name, s.URL, s.Auth)
	q := snapshotQueue(home)
	uid, good, err := evidently.SnapshotUID(verdict(t).Snapshot)
	require.NoError(t, err)
	huge := bytes.Replace(good, []byte(`"widgets":[`), []byte(`"more":"`+strings.Repeat("x", 65<<20)+`","widgets":[`), 1)
	huge = bytes.ReplaceAll(huge, []byte(uid), []byte("another-uid"))
	path, err := q.add(WaitingSnapshot{UID: "another-uid", Server: s.URL, Project: name, Created: time.Now().Add(-time.Hour)}, huge)
	require.NoError(t, err)
	_, err = q.add(WaitingSnapshot{UID: uid, Server: s.URL, Project: name, Created: time.Now()}, good)
	require.NoError(t, err)
	sent, err := infrastructure(t, home).SyncSnapshots(t.Context(), SnapshotSyncOptions{})
	require.NoError(t, err)
	require.Len(t, sent, 2)
	require.ErrorIs(t, sent[0].Err, mlops.ErrInvalid, "the service takes 64 MiB")
	require.NotEmpty(t, sent[0].Refused)
	require.NotEmpty(t, sent[1].SnapshotID)
	require.FileExists(t, path, "it is kept")
	again, err := infrastructure(t, home).SyncSnapshots(t.Context(), SnapshotSyncOptions{})
	require.NoError(t, err)
	require.Len(t, again, 1)
	require.NotEmpty(t, again[0].Refused)
	require.NoError(t, again[0].Err, "and not sent again")
	require.Equal(t, []string{uid}, stored(t, direct, name))
}

func TestLiveAListMakesNoProject(t *testing.T) {
	_, s, direct := live(t)
	name := "typo-" + fmt.Sprint(time.Now().UnixNano())
	home, err := mlops.Home() // MLflow is asked for the project, too
	require.NoError(t, err)
	p := drifting(t, home, name, s.URL, s.Auth)
	_, err = mlops.Collect(p.Snapshots(t.Context()))
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = direct.ProjectByName(t.Context(), name)
	require.ErrorIs(t, err, mlops.ErrNotFound)
}
