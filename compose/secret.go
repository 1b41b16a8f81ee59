package compose

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/atomicfile"
)

func secretPath(home, name string) string { return filepath.Join(home, "secrets", name) }

// readSecret returns a secret of a home. A file that others may read or that is
// not ours is refused, and the cure named.
func readSecret(home, name string) (mlops.Secret, string, error) {
	file := secretPath(home, name)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", file, conflict("%s is missing; put it back, or run: mlopsctl doctor --fix", file)
	}
	if err != nil {
		return "", file, err
	}
	if err := privateFile(file); err != nil {
		return "", file, err
	}
	s := mlops.Secret(strings.TrimSpace(string(b)))
	if s == "" {
		return "", file, conflict("%s is empty; put its content back, or run: mlopsctl doctor --fix", file)
	}
	return s, file, nil
}

// makeSecret closes a secret of ours that is open to others, and makes one that
// is missing: 48 random bytes as 64 characters
// of the URL-safe alphabet, in a file of mode 0600. Two processes that make it
// at once get the same one. It refuses where a server is known to have another.
func makeSecret(home, name string) error {
	file := secretPath(home, name)
	if info, err := os.Stat(file); err == nil {
		if info.Mode().Perm()&0o077 != 0 && ownedByUs(info) {
			return os.Chmod(file, 0o600)
		}
		return nil
	}
	if trace := livedWith(home, name); trace != "" {
		return conflict("%s is missing, but %s shows that a server has this secret; put it back, or run: mlopsctl doctor --fix", file, trace)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	raw := make([]byte, 48)
	_, _ = rand.Read(raw) // never fails
	err := atomicfile.Create(file, []byte(base64.RawURLEncoding.EncodeToString(raw)), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// keyed are files that are written only where a server has the secret, and
// would refuse another or lose what it encrypted. Other secrets are given to
// their servers at each start.
var keyed = map[string][]string{
	"postgres":       {"mlflow/pgpass", "airflow/database"},
	"mlflow":         {"mlflow/basic_auth.ini", "mlflow/tables"},
	"airflow-fernet": {"airflow/fernet", "airflow/tables"},
}

// livedWith names a trace of a server that has a secret; empty if there is none.
func livedWith(home, name string) string {
	if id := readIdentity(home); name == "postgres" && id.Databases != "" {
		return identityPath(home)
	}
	for _, trace := range keyed[name] {
		file := filepath.Join(home, "data", trace)
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return file
		}
	}
	return ""
}

// privateFile returns an error that matches [mlops.ErrForbidden] if the file is
// not ours alone.
func privateFile(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	var what string
	switch {
	case !ownedByUs(info):
		what = "belongs to another user"
	case info.Mode().Perm()&0o077 != 0:
		what = fmt.Sprintf("is open to other users (mode %04o)", info.Mode().Perm())
	default:
		return nil
	}
	return &mlops.Error{Kind: mlops.ErrForbidden, Service: "compose", Message: fmt.Sprintf("%s %s; run: mlopsctl doctor --fix", file, what)}
}

func ownedByUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
