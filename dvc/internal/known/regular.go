package known

import (
	"os"
	"syscall"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/fault"
	"github.com/mlops-integration/mlops/internal/rawfile"
)

// OpenRegular opens a file for reading, following symlinks, and refuses what
// is not a regular file.
func OpenRegular(path string) (*rawfile.File, Stamp, error) {
	f, err := rawfile.Open(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe without a writer must not block
	if err != nil {
		return nil, Stamp{}, err
	}
	st, err := StatFile(f)
	if err == nil && !st.Mode.IsRegular() {
		err = fault.New(mlops.ErrInvalid, "%s is not a regular file", path)
	}
	if err != nil {
		_ = f.Close()
		return nil, Stamp{}, err
	}
	return f, st, nil
}
