package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/rayserve"
)

func TestRowsAreTakenInTheFormsThatPeopleHave(t *testing.T) {
	for name, tt := range map[string]struct {
		in, kind, want string
		csv            bool
	}{
		"CSV":                  {"x,y\n1,a\n", "text/csv", "x,y\n1,a\n", false},
		"CSV of one column":    {"x\n1", "text/csv", "x\n1\n", false},
		"CSV, whatever begins": {"[x]\n1\n", "text/csv", "[x]\n1\n", true},
		"objects":              {` [{"x": 1}]`, "", `{"dataframe_records": [{"x": 1}]}`, false},
		"values":               {`[[1, 2], [3, 4]]`, "", `{"inputs": [[1, 2], [3, 4]]}`, false},
		"no rows":              {`[]`, "", `{"inputs": []}`, false},
		"a whole request":      {`{"inputs": {"x": [1]}, "params": {"k": 2}}`, "", `{"inputs": {"x": [1]}, "params": {"k": 2}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := requestOf([]byte(tt.in), tt.csv)
			require.NoError(t, err)
			require.Equal(t, rayserve.Body{ContentType: tt.kind, Data: []byte(tt.want)}, got)
		})
	}
	for _, in := range []string{"", " \n", "{", `[{"x": 1}`, `{"x": 1}}`} {
		_, err := requestOf([]byte(in), false)
		require.Equal(t, exitUsage, codeOf(err), "%q: %v", in, err)
	}
}

func TestPredictionsArePrintedOneALine(t *testing.T) {
	require.Equal(t, "1.5\n\"a\"\n[1,2]", predictionLines(json.RawMessage(`[1.5, "a", [1, 2]]`)))
	require.Equal(t, `{"a":1}`, predictionLines(json.RawMessage(`{"a": 1}`)))
	require.Empty(t, predictionLines(json.RawMessage(`[]`)))
}

func TestAStartWhoseDeploymentsDoNotComeBackIsDegraded(t *testing.T) {
	st := compose.Status{State: compose.StateDegraded, Deployments: []compose.DeploymentStatus{
		{Name: "demo.good", State: compose.StateReady},
		{Name: "demo.lin", State: compose.StateFailed, Message: "No module named 'x'"},
		{Name: "demo.late", State: compose.StateStarting},
	}}
	err := errors.Join(nil, comeBack(st))
	require.Equal(t, exitDegraded, codeOf(err))
	require.ErrorContains(t, err, "demo.lin, demo.late")
	require.NotContains(t, err.Error(), "demo.good")
	require.NoError(t, comeBack(compose.Status{Deployments: st.Deployments[:1]}))

	var out strings.Builder
	e := &env{stdout: &out, stderr: &out, terminal: func(io.Writer) bool { return false }}
	require.NoError(t, e.printStatus(st))
	require.Contains(t, out.String(), "demo.lin\tfailed\t\t\t\t\tNo module named 'x'\n")
	require.Contains(t, out.String(), "demo.late\tstarting")
	require.NotContains(t, out.String(), "demo.good")
}
