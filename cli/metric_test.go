package cli

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALineOfMetricsHasAStepAndATime(t *testing.T) {
	now := time.UnixMilli(1)
	noon := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for line, want := range map[string]struct {
		step int64
		at   time.Time
		left int
	}{
		`{"loss": 1}`:                                        {0, now, 1},
		`{"step": 3, "loss": 1}`:                             {3, now, 1},
		`{"step": 3.0, "loss": 1}`:                           {3, now, 1},
		`{"step": 1e3}`:                                      {1000, now, 0},
		`{"timestamp": 1795780800, "loss": 1}`:               {0, noon, 1},
		`{"timestamp": 1795780800000, "loss": 1}`:            {0, noon, 1},
		`{"timestamp": "2026-11-27T12:00:00Z"}`:              {0, noon, 0},
		`{"timestamp": "2026-11-27T13:00:00.000+01:00"}`:     {0, noon, 0},
		`{"time": "2026-11-27 12:00:00", "step": 2, "a": 1}`: {2, noon, 1},
		`{"time": 0.53}`:                                     {0, now, 1},
	} {
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(line), &object))
		step, at, err := place(object, now)
		require.NoError(t, err, line)
		require.Equal(t, want.step, step, line)
		require.True(t, want.at.Equal(at), "%s: %s", line, at)
		require.Len(t, object, want.left, line)
	}
	for _, line := range []string{`{"step": 1.5}`, `{"step": "1"}`, `{"step": null}`, `{"timestamp": "noon"}`, `{"timestamp": -1}`, `{"timestamp": null}`, `{"time": "soon"}`, `{"step": 1e300}`} {
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(line), &object))
		_, _, err := place(object, now)
		require.Error(t, err, line)
	}
}

func TestAnEmptyCellOfATableIsNoPoint(t *testing.T) {
	e := newEnv(strings.NewReader(`{"step":1.0,"loss":null,"acc":0.5}`), nil, nil, commands)
	points, err := e.pointsOf("-", time.Now())
	require.NoError(t, err)
	require.Len(t, points, 1, "null was logged as 0")
	require.Equal(t, "acc", points[0].Key)
}
