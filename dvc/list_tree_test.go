package dvc_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

func TestATreeHasDirectoriesBeforeWhatIsInThem(t *testing.T) {
	w := newWorld(t)
	dir, r := w.repo()
	write(t, dir, map[string]string{"d/a": "1", "d/s/z": "2", "d-b": "3", "e/f": "4"})
	_, err := r.Add(bg(t), []string{"d"}, dvc.AddOptions{})
	require.NoError(t, err)
	w.git(dir, "add", "-A")
	w.git(dir, "commit", "-q", "-m", "all")
	src, err := dvc.OpenSource(bg(t), dir, dvc.SourceOptions{})
	require.NoError(t, err)
	defer src.Close()
	list := func(o dvc.ListOptions) string {
		all, err := src.List(context.Background(), o)
		require.NoError(t, err)
		var names []string
		for _, e := range all {
			name := e.Path
			if e.IsDir {
				name += "/"
			}
			if e.IsOut {
				name += "*"
			}
			names = append(names, name)
		}
		text, err := json.Marshal(names)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, `[".dvcignore",".gitignore","d/*","d/a*","d/s/*","d/s/z*","d-b","d.dvc","e/","e/f"]`, list(dvc.ListOptions{Tree: true}))
	require.Equal(t, `[".dvcignore",".gitignore","d/*","d-b","d.dvc","e/"]`, list(dvc.ListOptions{Tree: true, Level: 1}))
	require.Equal(t, `["a*","s/*","s/z*"]`, list(dvc.ListOptions{Path: "d", Tree: true}))
	require.Equal(t, `["d/*","d/a*","d/s/*"]`, list(dvc.ListOptions{DVCOnly: true, Tree: true, Level: 2}))
}
