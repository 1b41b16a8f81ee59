package mlflow

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// decode reads a JSON list into its targets, one by one.
func decode(t *testing.T, text string, into ...any) {
	t.Helper()
	var parts []json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &parts), text)
	require.Len(t, parts, len(into))
	for i, p := range parts {
		require.NoError(t, json.Unmarshal(p, into[i]))
	}
}
