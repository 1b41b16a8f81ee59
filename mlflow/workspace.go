package mlflow

import (
	"context"
	"iter"
	"net/url"

	"github.com/mlops-integration/mlops/internal/transport"
)

// Workspace keeps experiments, models and permissions of one team apart from
// those of others, on a server that was started with --enable-workspaces. A
// client works in one workspace, which it names in the header
// X-MLFLOW-WORKSPACE; the calls of this file are above them.
type Workspace struct {
	Name         string       `json:"name"`
	Description  string       `json:"description,omitempty"`
	ArtifactRoot string       `json:"default_artifact_root,omitempty"` // empty: the server's
	TraceArchive TraceArchive `json:"trace_archival_config,omitzero"`
}

// TraceArchive says where old traces of a workspace go, and when.
type TraceArchive struct {
	Location  string `json:"location,omitempty"`  // "s3://bucket/traces"; empty: the server's
	Retention string `json:"retention,omitempty"` // "30d"; empty: the server's
}

type workspaceReply struct {
	Workspace Workspace `json:"workspace"`
}

// Create makes a workspace. Names are lower case; "default" is there
// already. The error matches [mlops.ErrAlreadyExists] if the name is taken, and
// [mlops.ErrUnsupported] if the server has no workspaces.
//
// MLflow REST: POST /api/3.0/mlflow/workspaces
func (s WorkspacesService) Create(ctx context.Context, w Workspace) (Workspace, error) {
	return onceNamed(ctx, s.c, func() (Workspace, error) {
		out, err := sendOnce3[workspaceReply](ctx, s.c, "Workspaces.Create", "POST", "workspaces", w)
		return out.Workspace, err
	}, func() (Workspace, bool, error) { return found(s.Get(ctx, w.Name)) })
}

// Get returns a workspace.
//
// MLflow REST: GET /api/3.0/mlflow/workspaces/{workspace_name}
func (s WorkspacesService) Get(ctx context.Context, name string) (Workspace, error) {
	out, err := get3[workspaceReply](ctx, s.c, "Workspaces.Get", "workspaces/"+url.PathEscape(name), nil)
	return out.Workspace, err
}

// All lists the workspaces that the caller may see.
//
// MLflow REST: GET /api/3.0/mlflow/workspaces
func (s WorkspacesService) All(ctx context.Context) iter.Seq2[Workspace, error] {
	return pages(func(string) ([]Workspace, string, error) {
		out, err := get3[struct {
			Workspaces []Workspace `json:"workspaces"`
		}](ctx, s.c, "Workspaces.All", "workspaces", nil)
		return out.Workspaces, "", err
	})
}

// WorkspaceUpdate is what may change about a workspace. Nil leaves a field as it
// is; new("") takes it back to the server's default.
type WorkspaceUpdate struct {
	Description  *string
	ArtifactRoot *string
	Archive      *string // where old traces go
	Retention    *string // how long they stay, "30d"
}

// Update changes a workspace.
//
// MLflow REST: PATCH /api/3.0/mlflow/workspaces/{workspace_name}
func (s WorkspacesService) Update(ctx context.Context, name string, u WorkspaceUpdate) (Workspace, error) {
	body, archive := map[string]any{}, map[string]any{}
	for _, f := range []struct {
		key   string
		value *string
		in    map[string]any
	}{{"description", u.Description, body}, {"default_artifact_root", u.ArtifactRoot, body}, {"location", u.Archive, archive}, {"retention", u.Retention, archive}} {
		if f.value != nil {
			f.in[f.key] = *f.value
		}
	}
	if len(archive) > 0 {
		body["trace_archival_config"] = archive
	}
	out, err := send3[workspaceReply](ctx, s.c, "Workspaces.Update", "PATCH", "workspaces/"+url.PathEscape(name), body)
	return out.Workspace, err
}

// WorkspaceDeletion is what becomes of the things in a workspace that is deleted.
type WorkspaceDeletion string

// The ways to delete a workspace.
const (
	WorkspaceRestrict   WorkspaceDeletion = "RESTRICT"    // the deletion is refused if there are any
	WorkspaceSetDefault WorkspaceDeletion = "SET_DEFAULT" // they move to the workspace "default"
	WorkspaceCascade    WorkspaceDeletion = "CASCADE"     // they are deleted too
)

// Delete deletes a workspace; mode says what becomes of the things in
// it, and is WorkspaceRestrict if empty.
//
// MLflow REST: DELETE /api/3.0/mlflow/workspaces/{workspace_name}
func (s WorkspacesService) Delete(ctx context.Context, name string, mode WorkspaceDeletion) error {
	q := url.Values{}
	if mode != "" {
		q.Set("mode", string(mode))
	}
	return remove(ctx, s.c, func() error {
		_, err := transport.Do[transport.None](ctx, s.c.tracking(), transport.Call{Op: "Workspaces.Delete", Method: "DELETE", Path: api3 + "workspaces/" + url.PathEscape(name), Query: q})
		return err
	})
}
