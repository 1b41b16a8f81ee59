package mlops

import (
	"fmt"
	"os"
	"path/filepath"
)

// Home is the folder of caches, servers, state, and of what waits for a
// server: MLOPS_HOME, else ~/.mlops. It need not exist.
func Home() (string, error) {
	if h := os.Getenv("MLOPS_HOME"); h != "" {
		return filepath.Abs(h)
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no home directory: set MLOPS_HOME to a folder for servers and state: %w", err)
	}
	return filepath.Join(h, ".mlops"), nil
}
