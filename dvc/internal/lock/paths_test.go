package lock

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPidThatIsNoneNamesNoProcess(t *testing.T) {
	require.Equal(t, "of unknown pid", nameOf("../.."))
}

func FuzzRWLock(f *testing.F) {
	f.Add([]byte(`{"write": {"/a": {"pid": 1, "cmd": "dvc"}}, "read": {"/b": [{"pid": 2, "cmd": "x"}]}}`))
	f.Add([]byte(`{"write": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse(data)
		if err != nil {
			return
		}
		l.Blocks("/a", true, func(h Holder) bool { return strings.Contains(h.Cmd, "x") })
		l.Drop(func(string, Holder) bool { return false })
		out, err := json.Marshal(l)
		require.NoError(t, err)
		again, err := Parse(out)
		require.NoError(t, err)
		require.Len(t, again.Write, len(l.Write))
		l.Drop(func(string, Holder) bool { return true })
		require.Empty(t, l.Write)
		require.Empty(t, l.Read)
	})
}
