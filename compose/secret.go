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

	"github.com/mlops-integration/mlops"
)

// secretIn returns the secret kept in dir/name, 48 random bytes as 64
// characters of the URL-safe alphabet, and makes it if it is not there. Two
// processes that make it at once get the same one.
func secretIn(dir, name string) (mlops.Secret, string, error) {
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", err
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(dir, file); err != nil {
			return "", "", err
		}
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return "", "", err
	}
	s := mlops.Secret(strings.TrimSpace(string(b)))
	if s == "" {
		return "", "", fmt.Errorf("%s is empty; delete it and run: mlopsctl restart", file)
	}
	return s, file, nil
}

func makeSecret(dir, file string) error {
	raw := make([]byte, 48)
	_, _ = rand.Read(raw) // never fails
	tmp, err := os.CreateTemp(dir, ".secret-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(base64.RawURLEncoding.EncodeToString(raw))
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
