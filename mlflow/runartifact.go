package mlflow

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
)

// own is the run's folder behind the proxy.
func (r *Run) own(ctx context.Context) (string, error) {
	at, err := r.place(ctx)
	if err != nil {
		return "", err
	}
	return r.c.root(ctx, at.root)
}

// LogArtifact stores a local file in artifactDir, "" for the root, under its
// own name. It returns when the server has it.
func (r *Run) LogArtifact(ctx context.Context, localPath, artifactDir string) error {
	root, err := r.own(ctx)
	if err != nil {
		return err
	}
	return r.c.putFile(ctx, root, localPath, path.Join(artifactDir, filepath.Base(localPath)))
}

// LogDir stores the files below a local folder in artifactDir, "" for the
// root. It returns when the server has them.
func (r *Run) LogDir(ctx context.Context, localDir, artifactDir string) error {
	root, err := r.own(ctx)
	if err != nil {
		return err
	}
	return r.c.putDir(ctx, root, localDir, artifactDir)
}

// LogText stores a text as an artifact. It returns when the server has it.
func (r *Run) LogText(ctx context.Context, text, artifactPath string) error {
	root, err := r.own(ctx)
	if err != nil {
		return err
	}
	return r.c.putBytes(ctx, root, []byte(text), artifactPath)
}

// LogJSON stores v as an indented JSON artifact. It returns when the server
// has it.
func (r *Run) LogJSON(ctx context.Context, v any, artifactPath string) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", artifactPath, err)
	}
	return r.LogText(ctx, string(b)+"\n", artifactPath)
}
