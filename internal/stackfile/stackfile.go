// Package stackfile is the one file through which the running stack tells
// programs where it is: compose writes it, client reads it, and neither imports
// the other. It holds addresses and the places of secrets, never a secret.
package stackfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/trust"
)

// Version is the form of the file that this package writes.
const Version = 1

// The names under which endpoints are kept.
const (
	MLflow    = "mlflow"
	Airflow   = "airflow"
	Ray       = "ray"   // the dashboard, where Serve is configured
	Serve     = "serve" // the HTTP address of deployed models
	Evidently = "evidently"
	Postgres  = "postgres"
	S3        = "s3" // where Bucket is

	AirflowReader = "airflow-reader" // the database of Airflow, for a role that reads its queue only
)

// Bucket is what the stack's S3 server has from the beginning, in either runtime.
const Bucket = "mlops"

// DVCInS3 is where projects have their DVC remotes, if those are in that bucket.
const DVCInS3 = "s3://" + Bucket + "/dvc"

// Stack is a running stack as programs may use it.
type Stack struct {
	Version   int                 `json:"version"`
	Runtime   string              `json:"runtime"`    // "process" or "docker"
	Home      string              `json:"home"`       // the MLOPS_HOME it was started with
	Endpoints map[string]Endpoint `json:"endpoints"`  // by the names above
	DVCRemote string              `json:"dvc_remote"` // under which each project has its remote: a folder or "s3://bucket/prefix"
	// DVCOptions are what DVC has to know of such a remote beside its URL, under
	// DVC's own names: "endpointurl", "credentialpath", …
	DVCOptions map[string]string `json:"dvc_options,omitempty"`
	DAGs       string            `json:"dags_folder"` // where Airflow looks for DAG files
	Pythons    map[string]string `json:"pythons"`     // interpreter of each environment: "evidently", "train", …
	ServeDir   string            `json:"serve_dir"`   // where the desired Serve configuration is kept
	Command    string            `json:"command"`     // the mlopsctl that DAG tasks call
}

// Endpoint is one server.
type Endpoint struct {
	URL      string `json:"url"`
	Username string `json:"username,omitempty"`
	// SecretFile holds the password or token, alone, with mode 0600.
	SecretFile string `json:"secret_file,omitempty"`
}

// Secret reads the endpoint's password or token; it is empty if there is none.
// A file that others may read, or that they or another user may change, is refused.
func (e Endpoint) Secret() (mlops.Secret, error) {
	if e.SecretFile == "" {
		return "", nil
	}
	info, err := os.Stat(e.SecretFile)
	if err != nil {
		return "", fmt.Errorf("credentials of %s: %w", e.URL, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("credentials of %s: %s may be read by others (mode %04o); run: chmod 600 %s", e.URL, e.SecretFile, info.Mode().Perm(), trust.Quote(e.SecretFile))
	}
	b, err := trust.ReadFile(e.SecretFile, limit)
	if err != nil {
		return "", fmt.Errorf("credentials of %s: %w", e.URL, err)
	}
	return mlops.Secret(strings.TrimSpace(string(b))), nil
}

// limit is more than any of these files has.
const limit = 1 << 20

// Path is where the stack of a home writes its file.
func Path(home string) string { return filepath.Join(home, "stack.json") }

// Read returns the running stack of a home. The error matches
// [mlops.ErrNotFound] if there is none, [mlops.ErrConflict] if the file is of
// another home, of which this one is a copy, and [mlops.ErrForbidden] if another
// user can change the home or the file, or if the file names a secret outside of
// the home: it decides where credentials go.
func Read(home string) (Stack, error) {
	err := trust.Check(home)
	var b []byte
	if err == nil {
		b, err = trust.ReadFile(Path(home), limit)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return Stack{}, &mlops.Error{Kind: mlops.ErrNotFound, Message: "no stack is running under " + home}
	}
	if err != nil {
		return Stack{}, err
	}
	var s Stack
	if err := json.Unmarshal(b, &s); err != nil {
		return Stack{}, fmt.Errorf("%s is damaged (%w); run: mlopsctl start", Path(home), err)
	}
	if s.Version != Version {
		return Stack{}, &mlops.Error{Kind: mlops.ErrUnsupported, Message: fmt.Sprintf("%s has form %d, this program reads %d; run: mlopsctl restart", Path(home), s.Version, Version)}
	}
	if copied(s.Home, home) {
		return Stack{}, &mlops.Error{Kind: mlops.ErrConflict, Message: fmt.Sprintf("%s is of the stack of %s, of which %s is a copy: nothing is sent to its servers; for servers of this home, run: mlopsctl start", Path(home), s.Home, home)}
	}
	files := []string{s.DVCOptions["credentialpath"]}
	for _, e := range s.Endpoints {
		files = append(files, e.SecretFile)
	}
	if i := slices.IndexFunc(files, func(f string) bool { return f != "" && !inside(home, f) }); i >= 0 {
		return Stack{}, &mlops.Error{Kind: mlops.ErrForbidden, Message: fmt.Sprintf("%s names the secret %s, which is not in this home: nothing is sent to the servers that it names; if the home was moved, run: mlopsctl restart", Path(home), files[i])}
	}
	return s, nil
}

// copied reports whether a stack file of the home of is in another folder
// although that home is still there.
func copied(of, home string) bool {
	there, err := os.Stat(of)
	here, err2 := os.Stat(home)
	return err == nil && err2 == nil && !os.SameFile(there, here)
}

// inside reports whether a file is in a folder, whatever links lead to either.
func inside(folder, file string) bool {
	rel, err := filepath.Rel(resolved(folder), resolved(file))
	return err == nil && filepath.IsLocal(rel)
}

// resolved is path without links. Of a file that is not there only its folder is looked at.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return filepath.Clean(path)
}

// Write replaces the file of s.Home whole, with mode 0600.
func Write(s Stack) error {
	s.Version = Version
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.Home, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(Path(s.Home), append(b, '\n'), 0o600)
}

// Remove deletes the file; there being none is no error.
func Remove(home string) error {
	if err := os.Remove(Path(home)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
