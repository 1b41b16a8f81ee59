package cli

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc"
)

func TestATransferTellsRateAndTimeLeft(t *testing.T) {
	for _, tt := range []struct {
		name     string
		terminal bool
		json     bool
		quiet    bool
		want     []string
	}{
		{"a terminal", true, false, false, []string{"push: 1 of 4 objects, 1.0 MiB, 1.0 MiB/s, 3s left", "push: 4 of 4 objects, 4.0 MiB, 2.0 MiB/s, 0s left"}},
		{"JSON in a pipe", false, true, false, []string{
			`{"event":"progress","verb":"push","done":1,"total":4,"bytes":1048576,"bytes_per_second":1048576,"seconds_left":3,"path":"a"}`,
			`{"event":"progress","verb":"push","done":4,"total":4,"bytes":4194304,"bytes_per_second":2097152,"seconds_left":0,"path":"d"}`,
		}},
		{"a pipe", false, false, false, nil},
		{"quiet", true, true, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			e := newEnv(nil, io.Discard, &out, commands)
			e.terminal = func(io.Writer) bool { return tt.terminal }
			e.json, e.quiet = tt.json, tt.quiet
			m := e.meter("push")
			at := m.begun
			m.now = func() time.Time { return at }
			for i, p := range []string{"a", "b", "d"} {
				at = m.begun.Add([]time.Duration{time.Second, 1100 * time.Millisecond, 2 * time.Second}[i])
				n := []int{1, 2, 4}[i]
				m.report(dvc.Progress{Done: n, Total: 4, DoneBytes: int64(n) << 20, Path: p})
			}
			m.done()
			for _, w := range tt.want {
				require.Contains(t, out.String(), w)
			}
			if tt.want == nil {
				require.Empty(t, out.String())
			}
			require.NotContains(t, out.String(), "2 of 4", "not more than four a second")
		})
	}
}

func TestATransferTellsHowMuchThereIs(t *testing.T) {
	var out bytes.Buffer
	e := newEnv(nil, io.Discard, &out, commands)
	e.terminal = func(io.Writer) bool { return true }
	m := e.meter("pull")
	at := m.begun.Add(2 * time.Second)
	m.now = func() time.Time { return at }
	m.report(dvc.Progress{Done: 1, Total: 9, DoneBytes: 1 << 20, TotalBytes: 4 << 20})
	require.Contains(t, out.String(), "pull: 1 of 9 objects, 1.0 MiB of 4.0 MiB, 512.0 KiB/s, 6s left")
}
