//go:build unix

// Package trust decides whether a file may decide anything: what runs, where
// credentials go, where files are written. It may if it and the folder that it
// lies in belong to this user or to root, and no other user may write to them.
package trust

import (
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/mlops-integration/mlops"
)

// Refused is a file or folder that another user can change. It matches
// [mlops.ErrForbidden].
type Refused struct {
	Path   string
	Reason string // "belongs to the user eve, not to you"
	Cure   string // a command to type, or what to do
}

// Error returns "/p/x belongs to the user eve, not to you; run: sudo chown me /p/x".
func (r *Refused) Error() string { return r.Path + " " + r.Reason + "; " + r.Cure }

// Unwrap returns the kind.
func (r *Refused) Unwrap() error { return mlops.ErrForbidden }

// Check returns a [*Refused] if another user can change what is at path, a file
// or a folder: because it is theirs, or because they may write to it. For a
// file the folder that it lies in counts, too; a link counts with its target.
// A group that is the user's own or root's, as an umask of 002 supposes, is no
// other user.
func Check(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	if err := check(real, info); err != nil || info.IsDir() {
		return err
	}
	if err := checkDir(filepath.Dir(real)); err != nil || real == path {
		return err
	}
	return checkDir(filepath.Dir(path))
}

// ReadFile reads a file that passes [Check] and has at most limit bytes. The
// file that is checked is the one that is read.
func ReadFile(path string, limit int64) ([]byte, error) {
	if err := Check(path); err != nil {
		return nil, err
	}
	return read(path, limit, check)
}

// ReadAny reads a file of any owner that has at most limit bytes.
func ReadAny(path string, limit int64) ([]byte, error) {
	return read(path, limit, func(string, os.FileInfo) error { return nil })
}

func read(path string, limit int64, check func(string, os.FileInfo) error) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(path, info); err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, invalid("%s is not a file", path)
	case info.Size() > limit:
		return nil, invalid("%s has %d bytes; at most %d are read", path, info.Size(), limit)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, invalid("%s has more than the %d bytes that are read", path, limit)
	}
	return b, err
}

func checkDir(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return check(dir, info)
}

// check judges one file or folder by its metadata.
func check(path string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner is not known", path)
	}
	mode := info.Mode().Perm()
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return &Refused{path, "belongs to the user " + userName(int(st.Uid)) + ", not to you", "run: sudo chown " + userName(os.Geteuid()) + " " + Quote(path)}
	case mode&0o002 == 0 && (mode&0o020 == 0 || ownGroup(int(st.Gid))):
		return nil
	case info.Mode()&os.ModeSticky != 0:
		return &Refused{path, fmt.Sprintf("is a folder of all users (mode 1%03o)", mode), "use a folder of your own"}
	}
	return &Refused{path, fmt.Sprintf("may be changed by other users (mode %04o)", mode), "run: chmod go-w " + Quote(path)}
}

// ownGroup reports whether a group is root's, or the private group of this
// user: the one with the user's own name or number.
func ownGroup(gid int) bool {
	if gid == 0 || gid == os.Geteuid() {
		return true
	}
	g, err := user.LookupGroupId(strconv.Itoa(gid))
	return err == nil && g.Name == userName(os.Geteuid())
}

// userName is the name of a user, or the number where there is none.
func userName(uid int) string {
	id := strconv.Itoa(uid)
	if u, err := user.LookupId(id); err == nil && u.Username != "" {
		return u.Username
	}
	return id
}

// Quote is s as one word of a shell command that people may copy.
func Quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:,@%", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func invalid(format string, args ...any) error {
	return &mlops.Error{Kind: mlops.ErrInvalid, Message: fmt.Sprintf(format, args...)}
}

// Folders splits a list of folders as PATH is split, without empty entries.
func Folders(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == filepath.ListSeparator })
}
