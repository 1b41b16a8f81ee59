package evidently

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Snapshot is one stored result, without its contents.
type Snapshot struct {
	ID        string
	UID       string // made by the client that stored it; empty if that was another one
	Name      string
	Metadata  map[string]string // values that are no texts stand as JSON
	Tags      []string
	Timestamp Time
}

// UnmarshalJSON reads the service's form.
func (s *Snapshot) UnmarshalJSON(b []byte) error {
	var w struct {
		ID        string                     `json:"id"`
		Name      string                     `json:"name"`
		Metadata  map[string]json.RawMessage `json:"metadata"`
		Tags      []string                   `json:"tags"`
		Timestamp Time                       `json:"timestamp"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = Snapshot{ID: w.ID, Name: w.Name, Metadata: make(map[string]string, len(w.Metadata)), Tags: w.Tags, Timestamp: w.Timestamp}
	for k, v := range w.Metadata {
		var text string
		if json.Unmarshal(v, &text) != nil {
			text = string(v)
		}
		s.Metadata[k] = text
	}
	s.UID = s.Metadata[uidKey]
	delete(s.Metadata, uidKey)
	return nil
}

// uidKey is where, in a snapshot's metadata, its client-made ID is kept.
const uidKey = "mlops.snapshot_uid"

// SnapshotUID returns the client-made ID that a snapshot carries, and the
// snapshot, to which one is added if it carries none.
func SnapshotUID(snapshot json.RawMessage) (string, json.RawMessage, error) {
	if err := checkSnapshot(snapshot); err != nil {
		return "", nil, err
	}
	var all, meta map[string]json.RawMessage
	if err := json.Unmarshal(snapshot, &all); err != nil {
		return "", nil, err
	}
	if err := json.Unmarshal(all["metadata"], &meta); err != nil {
		return "", nil, err
	}
	var uid string
	if json.Unmarshal(meta[uidKey], &uid) == nil && uid != "" {
		return uid, snapshot, nil
	}
	uid = newID()
	meta[uidKey] = json.RawMessage(strconv.Quote(uid))
	var err error
	if all["metadata"], err = json.Marshal(meta); err != nil {
		return "", nil, err
	}
	snapshot, err = json.Marshal(all)
	return uid, snapshot, err
}

// AddSnapshot stores a snapshot, such as [DriftReport].Snapshot, and returns
// its ID. The snapshot is looked at before it is sent, because the service
// answers a malformed one with 500 and keeps one that it cannot show.
//
// It is stored once, also when an answer is lost: its
// metadata carry a client-made ID, by which it is looked for before it is sent
// again; see [SnapshotUID].
//
// The service takes 10 MB, about 160 columns, unless it was started with a
// larger --litestar-request-max-body-size; that of the stack takes 64 MiB.
//
// Evidently REST: POST /api/v2/snapshots/{project}; its description names no
// body: it is Evidently's SnapshotModel (core/serialization.py).
func (c *Client) AddSnapshot(ctx context.Context, projectID string, snapshot json.RawMessage) (string, error) {
	const op = "AddSnapshot"
	path, err := segment(op, "project", projectID)
	if err != nil {
		return "", err
	}
	uid, snapshot, err := SnapshotUID(snapshot)
	if err != nil {
		return "", invalid(op, "not a snapshot: %v", err)
	}
	find := func() (string, error) {
		s, err := c.SnapshotByUID(ctx, projectID, uid)
		return s.ID, err
	}
	return transport.Once(ctx, c.t, func() (string, error) {
		out, err := transport.Do[struct {
			ID string `json:"snapshot_id"`
		}](ctx, c.t, transport.Call{
			Op:     op,
			Method: "POST",
			Path:   "/api/v2/snapshots" + path,
			Raw: &transport.Stream{
				Open:        func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(snapshot)), nil },
				Size:        int64(len(snapshot)),
				ContentType: "application/json",
			},
		})
		if e, ok := errors.AsType[*mlops.Error](err); ok && e.Status == http.StatusInternalServerError {
			// The service lists a snapshot before it has written it. One that it
			// could not write stays listed until it ends.
			if id, ferr := find(); ferr == nil {
				err = errors.Join(err, c.DeleteSnapshot(ctx, projectID, id))
			}
		}
		return out.ID, err
	}, find)
}

// SnapshotByUID returns the snapshot that was stored under a client-made ID.
//
// The error matches [mlops.ErrNotFound] if there is none.
func (c *Client) SnapshotByUID(ctx context.Context, projectID, uid string) (Snapshot, error) {
	for s, err := range c.Snapshots(ctx, projectID) {
		if err != nil || s.UID == uid {
			return s, err
		}
	}
	return Snapshot{}, &mlops.Error{Kind: mlops.ErrNotFound, Service: service, Op: "SnapshotByUID", Message: fmt.Sprintf("project %s has no snapshot with the ID %s of its client", projectID, uid)}
}

// checkSnapshot tells what the service would stumble over.
func checkSnapshot(b []byte) error {
	var s map[string]json.RawMessage
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var (
		report  struct{ Items []json.RawMessage }
		at      Time
		meta    map[string]json.RawMessage
		tags    []string
		results map[string]struct{ Type string }
		top     []string
		widgets []map[string]any
	)
	for _, f := range []struct {
		key string
		to  any
	}{
		{"report", &report},
		{"timestamp", &at},
		{"metadata", &meta},
		{"tags", &tags},
		{"metric_results", &results},
		{"top_level_metrics", &top},
		{"widgets", &widgets},
		{"tests_widgets", &widgets},
	} {
		v, ok := s[f.key]
		if !ok || string(v) == "null" {
			return fmt.Errorf("%q is missing", f.key)
		}
		if err := json.Unmarshal(v, f.to); err != nil {
			return fmt.Errorf("%q: %w", f.key, err)
		}
	}
	for id, r := range results {
		if r.Type == "" {
			return fmt.Errorf("metric result %s has no type", id)
		}
	}
	for _, id := range top {
		if _, ok := results[id]; !ok {
			return fmt.Errorf("top-level metric %s has no result", id)
		}
	}
	return nil
}

// Snapshots lists a project's snapshots, in the order of their timestamps.
//
// Evidently REST: GET /api/projects/{project}/snapshots
func (c *Client) Snapshots(ctx context.Context, projectID string) iter.Seq2[Snapshot, error] {
	return sequence(func() ([]Snapshot, error) {
		const op = "Snapshots"
		path, err := segment(op, "project", projectID)
		if err != nil {
			return nil, err
		}
		all, err := transport.Do[[]Snapshot](ctx, c.t, transport.Call{
			Op:         op,
			Method:     "GET",
			Path:       "/api/projects" + path + "/snapshots",
			Idempotent: true,
		})
		slices.SortStableFunc(all, func(a, b Snapshot) int { return a.Timestamp.Compare(b.Timestamp.Time) })
		return all, err
	})
}

// SnapshotJSON returns the contents of a snapshot as the service gives them to
// programs: {"metrics": […], "tests": […]}. [DecodeDrift] reads them.
//
// The error matches [mlops.ErrNotFound] if there is no such snapshot.
//
// Evidently REST: GET /api/projects/{project}/{snapshot}/download?report_format=json
func (c *Client) SnapshotJSON(ctx context.Context, projectID, snapshotID string) (json.RawMessage, error) {
	const op = "SnapshotJSON"
	path, err := snapshotPath(op, projectID, snapshotID)
	if err != nil {
		return nil, err
	}
	out, err := transport.Do[json.RawMessage](ctx, c.t, transport.Call{
		Op:     op,
		Method: "GET",
		Path:   path + "/download",
		Query:  url.Values{"report_format": {"json"}},
		// Not repeated: a 500 here is an exception in the service's code, and
		// its answer to the ID of a snapshot that does not exist.
	})
	if e, ok := errors.AsType[*mlops.Error](err); ok && e.Status == http.StatusInternalServerError {
		all, lerr := mlops.Collect(c.Snapshots(ctx, projectID))
		if lerr == nil && !slices.ContainsFunc(all, func(s Snapshot) bool { return s.ID == snapshotID }) {
			e.Kind, e.Message = mlops.ErrNotFound, fmt.Sprintf("project %s has no snapshot %s", projectID, snapshotID)
		}
	}
	return out, err
}

// DeleteSnapshot removes a snapshot.
//
// Evidently REST: DELETE /api/projects/{project}/{snapshot}
func (c *Client) DeleteSnapshot(ctx context.Context, projectID, snapshotID string) error {
	const op = "DeleteSnapshot"
	path, err := snapshotPath(op, projectID, snapshotID)
	if err != nil {
		return err
	}
	_, err = transport.Do[transport.None](ctx, c.t, transport.Call{
		Op:         op,
		Method:     "DELETE",
		Path:       path,
		Idempotent: true,
	})
	return err
}

func snapshotPath(op, projectID, snapshotID string) (string, error) {
	project, err := segment(op, "project", projectID)
	if err != nil {
		return "", err
	}
	snapshot, err := segment(op, "snapshot", snapshotID)
	return "/api/projects" + project + snapshot, err
}
