package evidently

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
)

func open(t *testing.T) (*cassette.Session, *Client) {
	t.Helper()
	s := cassette.Open(t, "evidently")
	c, err := New(Options{URL: s.URL, Auth: s.Auth, HTTP: s.HTTP})
	require.NoError(t, err)
	return s, c
}

// project makes one that is removed after the test.
func project(t *testing.T, s *cassette.Session, c *Client, base string) Project {
	t.Helper()
	p, err := c.CreateProject(t.Context(), s.Name(base), ProjectOptions{Description: "of a test"})
	require.NoError(t, err)
	if s.Live {
		t.Cleanup(func() {
			clean, err := New(Options{URL: s.URL, Auth: s.Auth})
			require.NoError(t, err)
			require.NoError(t, clean.DeleteProject(context.WithoutCancel(t.Context()), p.ID))
		})
	}
	return p
}

func TestTheServiceTellsItsVersion(t *testing.T) {
	_, c := open(t)
	v, err := c.Version(t.Context())
	require.NoError(t, err)
	require.Regexp(t, `^0\.\d+\.\d+$`, v)
}

func TestAProjectIsMadeFoundAndRemoved(t *testing.T) {
	s, c := open(t)
	name := s.Name("wine/ü x")
	made, err := c.CreateProject(t.Context(), name, ProjectOptions{Description: "grapes"})
	require.NoError(t, err)
	require.Equal(t, name, made.Name)
	require.Equal(t, "grapes", made.Description)
	require.Equal(t, "2", made.Version, "the service's pages of version 1 are another")
	require.False(t, made.CreatedAt.IsZero())
	if s.Live {
		require.WithinDuration(t, time.Now(), made.CreatedAt.Time, time.Hour)
	}
	again, err := c.Project(t.Context(), made.ID)
	require.NoError(t, err)
	require.Equal(t, made, again)
	byName, err := c.ProjectByName(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, made, byName)
	all, err := mlops.Collect(c.Projects(t.Context()))
	require.NoError(t, err)
	require.Contains(t, all, made)

	require.NoError(t, c.DeleteProject(t.Context(), made.ID))
	_, err = c.Project(t.Context(), made.ID)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = c.ProjectByName(t.Context(), name)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.NoError(t, c.DeleteProject(t.Context(), made.ID), "the service does not mind")
}

func TestEnsuringAProjectTwiceMakesOne(t *testing.T) {
	s, c := open(t)
	name := s.Name("once")
	first, err := c.EnsureProject(t.Context(), name)
	require.NoError(t, err)
	t.Cleanup(func() {
		if s.Live {
			clean, err := New(Options{URL: s.URL, Auth: s.Auth})
			require.NoError(t, err)
			require.NoError(t, clean.DeleteProject(context.WithoutCancel(t.Context()), first.ID))
		}
	})
	second, err := c.EnsureProject(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, first, second)

	twin, err := c.CreateProject(t.Context(), name, ProjectOptions{})
	require.NoError(t, err)
	require.NotEqual(t, first.ID, twin.ID, "names need not be unique")
	third, err := c.EnsureProject(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, first, third, "the oldest is the one")
	require.NoError(t, c.DeleteProject(t.Context(), twin.ID))
}

// before calls f ahead of the first request of that method.
type before struct {
	base   http.RoundTripper
	method string
	f      func()
}

func (b *before) RoundTrip(req *http.Request) (*http.Response, error) {
	if f := b.f; f != nil && req.Method == b.method {
		b.f = nil
		f()
	}
	return b.base.RoundTrip(req)
}

func TestTwoWhoEnsureAProjectAtOnceGetTheSame(t *testing.T) {
	s, other := open(t)
	name := s.Name("race")
	var theirs Project
	base := s.HTTP.Transport
	if base == nil {
		base = http.DefaultTransport
	}
	mine, err := New(Options{URL: s.URL, Auth: s.Auth, HTTP: &http.Client{Transport: &before{base, "POST", func() {
		var err error
		theirs, err = other.EnsureProject(t.Context(), name)
		require.NoError(t, err)
	}}}})
	require.NoError(t, err)
	got, err := mine.EnsureProject(t.Context(), name)
	require.NoError(t, err)
	require.Equal(t, theirs, got)
	if s.Live { // a list is answered one way in a recording
		all, err := mlops.Collect(other.Projects(t.Context()))
		require.NoError(t, err)
		n := 0
		for _, p := range all {
			if p.Name == name {
				n++
			}
		}
		require.Equal(t, 1, n, "the later of the two projects is gone")
	}
	require.NoError(t, other.DeleteProject(t.Context(), got.ID))
}

// The stack's Evidently stands behind a guard; upstream's own answers a change
// with 403 and leaves reading open.
func TestAWrongSecretNeitherReadsNorWrites(t *testing.T) {
	s, _ := open(t)
	for _, auth := range []mlops.Auth{{}, {Token: "wrong", Header: SecretHeader}} {
		c, err := New(Options{URL: s.URL, Auth: auth, HTTP: s.HTTP})
		require.NoError(t, err)
		_, err = c.CreateProject(t.Context(), s.Name("denied"), ProjectOptions{})
		require.ErrorIs(t, err, mlops.ErrUnauthenticated)
		require.ErrorContains(t, err, "evidently: CreateProject: Evidently asks for the stack's secret")
		_, err = mlops.Collect(c.Projects(t.Context()))
		require.ErrorIs(t, err, mlops.ErrUnauthenticated)
		_, err = c.Version(t.Context())
		require.NoError(t, err, "the version tells a stranger nothing, and readiness is asked by it")
	}
}

func TestAMissingProjectIsNotFound(t *testing.T) {
	_, c := open(t)
	const id = "019ac000-0000-7000-8000-000000000000"
	_, err := c.Project(t.Context(), id)
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.EqualError(t, err, "evidently: Project: project not found")
	_, err = c.Project(t.Context(), "no uuid")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = c.AddSnapshot(t.Context(), id, minimal(nil))
	require.ErrorIs(t, err, mlops.ErrNotFound)
	_, err = mlops.Collect(c.Snapshots(t.Context(), id))
	require.ErrorIs(t, err, mlops.ErrNotFound)
	for _, bad := range []string{"", ".", ".."} {
		_, err = c.Project(t.Context(), bad)
		require.ErrorIs(t, err, mlops.ErrInvalid, "it would be another path")
		require.ErrorIs(t, c.DeleteProject(t.Context(), bad), mlops.ErrInvalid)
		require.ErrorIs(t, c.DeleteSnapshot(t.Context(), id, bad), mlops.ErrInvalid)
	}
}

// report is one of the real Evidently: computed when live, and else as it was
// computed when the answers were recorded.
func report(t *testing.T, s *cassette.Session) DriftReport {
	t.Helper()
	file := filepath.Join(golden, "report.golden.json")
	if !s.Live {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var rep DriftReport
		require.NoError(t, json.Unmarshal(b, &rep))
		return rep
	}
	rep, err := realRunner(t).Drift(t.Context(), sample(t, 1, 0), sample(t, 2, 3), DriftOptions{
		Name: "monday", Columns: []string{"größe, µ", "target"}, Tags: []string{"nightly", "a b"}, Metadata: map[string]string{"mlops.run": "0123"},
		Timestamp: time.Date(2026, 11, 23, 1, 2, 3, 500_000_000, time.UTC),
	})
	require.NoError(t, err)
	if os.Getenv("MLOPS_RECORD") != "" {
		b, err := json.Marshal(rep)
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(golden, 0o755))
		require.NoError(t, os.WriteFile(file, append(b, '\n'), 0o644))
	}
	return rep
}

func TestASnapshotIsStoredListedAndReadBack(t *testing.T) {
	s, c := open(t)
	rep := report(t, s)
	p := project(t, s, c, "snapshots")
	id, err := c.AddSnapshot(t.Context(), p.ID, rep.Snapshot)
	require.NoError(t, err)
	require.Len(t, id, 36)

	all, err := mlops.Collect(c.Snapshots(t.Context(), p.ID))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, Snapshot{
		ID: id, UID: all[0].UID, Name: "monday", Metadata: map[string]string{"mlops.run": "0123"}, Tags: []string{"nightly", "a b"},
		Timestamp: Time{time.Date(2026, 11, 23, 1, 2, 3, 500_000_000, time.UTC)},
	}, all[0])

	require.NotEmpty(t, all[0].UID)
	byUID, err := c.SnapshotByUID(t.Context(), p.ID, all[0].UID)
	require.NoError(t, err)
	require.Equal(t, all[0], byUID)
	_, err = c.SnapshotByUID(t.Context(), p.ID, "another")
	require.ErrorIs(t, err, mlops.ErrNotFound)

	stored, err := c.SnapshotJSON(t.Context(), p.ID, id)
	require.NoError(t, err)
	back, err := DecodeDrift(stored)
	require.NoError(t, err)
	want := rep
	want.Snapshot, want.ReferenceRows, want.CurrentRows = nil, 0, 0
	require.Equal(t, want, back, "what the service gives is what was computed")
	require.True(t, back.Drifted)

	_, err = c.SnapshotJSON(t.Context(), p.ID, "019ac000-0000-7000-8000-000000000000")
	require.ErrorIs(t, err, mlops.ErrNotFound, "the service answers 500 to this")
	require.NoError(t, c.DeleteSnapshot(t.Context(), p.ID, id))
}

// minimal is the smallest snapshot that the service shows, changed by f.
func minimal(f func(map[string]any)) json.RawMessage {
	s := map[string]any{
		"report": map[string]any{"items": []any{}}, "name": "n", "timestamp": "2026-11-23T01:28:14.158896", "metadata": map[string]any{"rows": 5, "by": "hand"}, "tags": []any{},
		"metric_results": map[string]any{}, "top_level_metrics": []any{}, "widgets": []any{}, "tests_widgets": []any{},
	}
	if f != nil {
		f(s)
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestMalformedSnapshotsAreRefusedBeforeTheServiceStumbles(t *testing.T) {
	s, c := open(t)
	p := project(t, s, c, "malformed")
	for want, bad := range map[string]json.RawMessage{
		`"report" is missing`:                    json.RawMessage(`{}`),
		`unexpected end of JSON input`:           json.RawMessage(``),
		`cannot unmarshal array`:                 json.RawMessage(`[]`),
		`invalid character 'N'`:                  json.RawMessage(`{"report":NaN}`),
		`"timestamp": time "noon"`:               minimal(func(s map[string]any) { s["timestamp"] = "noon" }),
		`"metadata": json: cannot unmarshal`:     minimal(func(s map[string]any) { s["metadata"] = "x" }),
		`"tests_widgets" is missing`:             minimal(func(s map[string]any) { delete(s, "tests_widgets") }),
		`"widgets" is missing`:                   minimal(func(s map[string]any) { s["widgets"] = nil }),
		`top-level metric abc has no result`:     minimal(func(s map[string]any) { s["top_level_metrics"] = []string{"abc"} }),
		`metric result abc has no type`:          minimal(func(s map[string]any) { s["metric_results"] = map[string]any{"abc": map[string]any{}} }),
		`"metric_results": json: cannot unmarsh`: minimal(func(s map[string]any) { s["metric_results"] = []any{} }),
	} {
		_, err := c.AddSnapshot(t.Context(), p.ID, bad)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.True(t, strings.HasPrefix(err.Error(), "evidently: AddSnapshot: not a snapshot: "), "%v", err)
		require.Contains(t, err.Error(), want)
	}
	id, err := c.AddSnapshot(t.Context(), p.ID, minimal(nil))
	require.NoError(t, err)
	all, err := mlops.Collect(c.Snapshots(t.Context(), p.ID))
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, id, all[0].ID)
	require.Equal(t, map[string]string{"rows": "5", "by": "hand"}, all[0].Metadata)
}
