package config

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/mlops-integration/mlops/internal/atomicfile"
)

// Bindings is the user's memory of where credentials were meant for. It lies
// outside of repositories, whose commits could write it.
type Bindings struct {
	Salt   string                 `json:"salt"`
	Places map[string]Destination `json:"places"` // by file and remote
}

// Destination is where the credentials of a remote in a file were meant for.
type Destination struct {
	Place string `json:"place"`
	Sum   string `json:"sum"` // of the credentials, with the salt
}

func bindingsFile() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "mlops", "dvc-remotes.json"), err
}

// LoadBindings reads the bindings; what cannot be read is empty.
func LoadBindings() *Bindings {
	b := &Bindings{}
	if file, err := bindingsFile(); err == nil {
		if data, err := os.ReadFile(file); err == nil {
			_ = json.Unmarshal(data, b)
		}
	}
	if b.Salt == "" || b.Places == nil {
		*b = Bindings{rand.Text(), map[string]Destination{}}
	}
	return b
}

// Sum is how credentials stand in the bindings.
func (b *Bindings) Sum(secret string) string {
	s := sha256.Sum256([]byte(b.Salt + secret))
	return hex.EncodeToString(s[:])
}

// Save writes the file. Where it cannot be written, as on a machine that lives
// for one job, nothing is remembered.
func (b *Bindings) Save() {
	file, err := bindingsFile()
	if err != nil || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return
	}
	_ = atomicfile.Write(file, data, 0o600)
}
