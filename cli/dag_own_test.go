package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// DAG b.train of project space and DAG train of project b in namespace space
// have one ID.
func TestCommandsLeaveAnotherProjectsDAGAlone(t *testing.T) {
	const path = "/api/v2/dags/space.b.train"
	for _, tt := range []struct{ namespace, project, dag, owner string }{
		{"", "space", "b.train", "space/b"},
		{"space", "b", "train", "space"},
	} {
		n := nothingThere{there: map[string]string{path: `{"dag_id": "space.b.train", "tags": [{"name": "mlops-sha:0123456789ab"}, {"name": "mlops-project:` + tt.owner + `"}]}`}}
		n.ofServers(t)
		t.Setenv("MLOPS_NAMESPACE", tt.namespace)
		for _, line := range []string{"trigger DAG", "pause DAG", "resume DAG", "cancel DAG run", "clear DAG run", "clear DAG run --dry-run",
			"backfill DAG --from 2026-02-01 --to 2026-02-02", "backfill DAG --from 2026-02-01 --to 2026-02-02 --dry-run"} {
			code, out, talk := call(t, "dag "+strings.Replace(line, "DAG", tt.dag, 1)+" -p "+tt.project)
			require.Equal(t, exitNotFound, code, "%s: %s", line, talk)
			require.Empty(t, out, line)
			require.Contains(t, talk, "belongs to project "+tt.owner, line)
		}
		require.Empty(t, n.made)
	}
}
