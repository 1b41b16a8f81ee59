package dvc

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/mlops-integration/mlops"
)

// addGitIgnore writes the entry for rel into the .gitignore beside it, as DVC
// does, unless git ignores rel already.
func (c *call) addGitIgnore(rel string, isDir bool) error {
	if c.gitIgnore == nil {
		return nil
	}
	ignored := c.gitIgnore.Ignored(rel, isDir)
	if err := c.gitIgnore.Err(); err != nil || ignored {
		return err
	}
	file := path.Join(path.Dir(rel), ".gitignore")
	data, err := c.root.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dvc: %s: %w: %w", file, mlops.ErrInvalid, err)
	}
	entry := escapeEntry("/" + path.Base(rel))
	if len(data) > 0 && data[len(data)-1] != '\n' {
		data = append(data, '\n')
	}
	for line := range strings.Lines(string(data)) {
		if line == entry+"\n" {
			return nil
		}
	}
	return c.writeFile(file, append(data, entry+"\n"...))
}

// escapeEntry escapes what is special in a pattern. dvc leaves a space at the
// end as it is, and so git does not ignore such a file; the bytes are dvc's.
func escapeEntry(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(`[]!*#?\`, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
