package mlflow

import (
	"context"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// ServerInfo describes how a server is set up.
type ServerInfo struct {
	Store              string          `json:"store_type"` // "SqlStore", "FileStore"
	Workspaces         bool            `json:"workspaces_enabled"`
	TraceArchival      bool            `json:"trace_archival_enabled"`
	MultipartUploads   bool            `json:"multipart_uploads_enabled"`
	MultipartDownloads bool            `json:"multipart_downloads_enabled"`
	PresignedRuns      bool            `json:"presigned_upload_run_id_supported"`
	PresignedModels    bool            `json:"presigned_upload_model_id_supported"`
	Features           map[string]bool `json:"features_enabled"` // "gateway"
}

// ServerInfo asks how the server is set up. It is answered without a login.
// The error matches [mlops.ErrUnsupported] if the server is too old to tell.
//
// MLflow REST: GET /api/3.0/mlflow/server-info
func (c *Client) ServerInfo(ctx context.Context) (ServerInfo, error) {
	return get3[ServerInfo](ctx, c, "ServerInfo", "server-info", nil)
}

// Health asks whether the server takes requests; nil means yes. It is answered
// without a login and whatever the Host header says: a server may be healthy
// and still refuse every other call, see [Client.Version].
//
// MLflow REST: GET /health
func (c *Client) Health(ctx context.Context) error {
	b, err := transport.Bytes(ctx, c.tracking(), transport.Call{Op: "Health", Method: "GET", Path: "/health", Idempotent: true})
	if err == nil && strings.TrimSpace(string(b)) != "OK" {
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Health", Message: "the server says " + cut(string(b))}
	}
	return err
}
