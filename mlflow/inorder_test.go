package mlflow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAJournalThatIsNotSentHoldsBackTheLaterOnesOfItsRun(t *testing.T) {
	s := &ill{fails: func(_, body string) bool { return strings.Contains(body, "foul") }}
	c := illClient(t, s)
	uid := strings.Repeat("ab", 16)
	leave(t, c, head{UID: uid, Run: "r1"}, record{kind: tagRecord, key: "stage", text: "foul"})
	leave(t, c, head{UID: uid, Run: "r1"}, record{kind: tagRecord, key: "stage", text: "fair"})
	r, err := c.ResumeRun(t.Context(), uid, RunOptions{KeepStatus: true})
	if err == nil {
		_ = r.Discard()
	}
	require.NotContains(t, strings.Join(s.got, "\n"), "fair", "it would be overwritten by what was logged before it")
	s.cure()
	_, err = c.Sync(t.Context(), SyncOptions{})
	require.NoError(t, err)
	all := strings.Join(s.got, "\n")
	require.Greater(t, strings.Index(all, "fair"), strings.Index(all, "foul"))
}
