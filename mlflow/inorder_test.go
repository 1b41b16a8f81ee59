package mlflow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAJournalThatIsNotSentHoldsBackTheLaterOnesOfItsRun(t *testing.T) {
	tried := map[string]bool{}
	s := &ill{fails: func(path, body string) bool { // it takes neither tags nor batches, and answers questions
		for _, word := range []string{"older", "newer"} {
			tried[word] = tried[word] || strings.Contains(body, word)
		}
		return strings.Contains(path, "log-batch") || strings.Contains(path, "set-tag")
	}}
	c := illClient(t, s)
	for _, text := range []string{"older", "newer"} {
		leave(t, c, head{UID: "r1", Run: "r1"}, record{kind: tagRecord, key: "stage", text: text})
	}
	if r, err := c.ResumeRun(t.Context(), "r1", RunOptions{KeepStatus: true}); err == nil {
		require.NoError(t, c.Close())
		_ = r.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, map[string]bool{"older": true, "newer": false}, tried, "the older value would come last")
}
