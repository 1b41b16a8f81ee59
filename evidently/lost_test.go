package evidently

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// lossy is a client whose answers a proxy can lose, and one that gets all.
func lossy(t *testing.T) (*cassette.Lossy, *Client, *Client) {
	t.Helper()
	if !cassette.Live() {
		t.Skip("needs the real service behind a proxy: only with MLOPS_LIVE=1")
	}
	s := cassette.Open(t, "evidently")
	l := cassette.OpenLossy(t, s.URL)
	c, err := New(Options{URL: l.URL, Auth: s.Auth})
	require.NoError(t, err)
	direct, err := New(Options{URL: s.URL, Auth: s.Auth})
	require.NoError(t, err)
	return l, c, direct
}

func named(t *testing.T, c *Client, name string) []Project {
	t.Helper()
	var out []Project
	for p, err := range c.Projects(t.Context()) {
		require.NoError(t, err)
		if p.Name == name {
			out = append(out, p)
		}
	}
	return out
}

func TestLiveALostAnswerMakesOneProject(t *testing.T) {
	l, c, direct := lossy(t)
	for _, tt := range []struct {
		name  string
		loses func(*http.Request) bool
		make  func(name string) (Project, error)
	}{
		{"created", first("POST"), func(n string) (Project, error) { return c.CreateProject(t.Context(), n, ProjectOptions{}) }},
		{"ensured", first("POST"), func(n string) (Project, error) { return c.EnsureProject(t.Context(), n) }},
		{"created, then each first read", firstOfEach(), func(n string) (Project, error) {
			return c.CreateProject(t.Context(), n, ProjectOptions{Description: "d"})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			name := "lost-" + newID()
			l.Lose(tt.loses)
			p, err := tt.make(name)
			require.NoError(t, err)
			require.Positive(t, l.Lost())
			l.Lose(nil)
			all := named(t, direct, name)
			require.Len(t, all, 1)
			require.Equal(t, p, all[0])
			l.LoseFirst("DELETE")
			require.NoError(t, c.DeleteProject(t.Context(), p.ID))
			require.Equal(t, 1, l.Lost())
			require.Empty(t, named(t, direct, name))
		})
	}
}

func TestLiveALostAnswerStoresOneSnapshot(t *testing.T) {
	l, c, direct := lossy(t)
	p, err := direct.CreateProject(t.Context(), "lost-"+newID(), ProjectOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, direct.DeleteProject(t.Context(), p.ID)) }()

	l.LoseFirst("POST")
	id, err := c.AddSnapshot(t.Context(), p.ID, minimal(nil))
	require.NoError(t, err)
	require.Equal(t, 1, l.Lost())
	all, err := mlops.Collect(direct.Snapshots(t.Context(), p.ID))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, id, all[0].ID)
	require.NotEmpty(t, all[0].UID)
	require.Equal(t, map[string]string{"rows": "5", "by": "hand"}, all[0].Metadata, "the ID is no metadata of the user's")

	again, err := c.AddSnapshot(t.Context(), p.ID, minimal(nil))
	require.NoError(t, err)
	require.NotEqual(t, id, again, "the same contents twice are two snapshots")

	l.LoseFirst("DELETE")
	require.NoError(t, c.DeleteSnapshot(t.Context(), p.ID, id))
	require.Equal(t, 1, l.Lost())
	all, err = mlops.Collect(direct.Snapshots(t.Context(), p.ID))
	require.NoError(t, err)
	require.Len(t, all, 1)

	l.Lose(func(*http.Request) bool { return true })
	_, err = c.AddSnapshot(t.Context(), p.ID, minimal(nil))
	require.ErrorIs(t, err, mlops.ErrUnavailable, "with every answer lost, nothing is claimed")
}

func TestASnapshotKeepsTheIDThatItHas(t *testing.T) {
	uid, b, err := SnapshotUID(minimal(nil))
	require.NoError(t, err)
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, uid)
	same, again, err := SnapshotUID(b)
	require.NoError(t, err)
	require.Equal(t, uid, same)
	require.Equal(t, string(b), string(again))
	var s struct{ Metadata map[string]any }
	require.NoError(t, json.Unmarshal(b, &s))
	require.Equal(t, map[string]any{"rows": 5.0, "by": "hand", uidKey: uid}, s.Metadata)
	other, _, err := SnapshotUID(minimal(func(s map[string]any) { s["metadata"] = map[string]any{uidKey: 7} }))
	require.NoError(t, err)
	require.NotEqual(t, "7", other)
	_, _, err = SnapshotUID(json.RawMessage(`{}`))
	require.ErrorContains(t, err, `"report" is missing`)
}

// first loses the answer to the first request of a method.
func first(method string) func(*http.Request) bool {
	done := false
	return func(r *http.Request) bool {
		lose := r.Method == method && !done
		done = done || lose
		return lose
	}
}

// firstOfEach loses the first answer to each method and kind of path.
func firstOfEach() func(*http.Request) bool {
	seen := map[string]bool{}
	return func(r *http.Request) bool {
		k := r.Method + strings.TrimRight(r.URL.Path, "0123456789abcdef-/")
		defer func() { seen[k] = true }()
		return !seen[k]
	}
}

// TestLiveWhatTheServiceCannotWriteIsNotCalledStored puts a file where the
// service makes its folder of snapshots. It answers 500 then, and lists the
// snapshot all the same until it ends.
func TestLiveWhatTheServiceCannotWriteIsNotCalledStored(t *testing.T) {
	_, _, c := lossy(t)
	home, err := mlops.Home()
	require.NoError(t, err)
	p, err := c.CreateProject(t.Context(), "full-"+newID(), ProjectOptions{})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.DeleteProject(t.Context(), p.ID)) }()
	dir := filepath.Join(home, "data", "evidently", "workspace", p.ID)
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the service's files are not on this machine: ", err)
	}
	snapshots := filepath.Join(dir, "snapshots")
	require.NoError(t, os.RemoveAll(snapshots))
	require.NoError(t, os.WriteFile(snapshots, nil, 0o600))
	_, err = c.AddSnapshot(t.Context(), p.ID, minimal(nil))
	require.ErrorIs(t, err, mlops.ErrUnavailable)
	e, ok := errors.AsType[*mlops.Error](err)
	require.True(t, ok)
	require.Equal(t, http.StatusInternalServerError, e.Status)
	require.NoError(t, os.Remove(snapshots))
	require.NoError(t, os.Mkdir(snapshots, 0o700))
	all, err := mlops.Collect(c.Snapshots(t.Context(), p.ID))
	require.NoError(t, err)
	require.Empty(t, all, "a snapshot is listed that is nowhere")
	_, err = c.AddSnapshot(t.Context(), p.ID, minimal(nil))
	require.NoError(t, err)
}
