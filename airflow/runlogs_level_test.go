package airflow

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALevelThatIsNotKnownIsNotHidden(t *testing.T) {
	for level, want := range map[string]bool{"debug": false, "INFO": false, "warning": true, "warn": true, "error": true, "exception": true, "FATAL": true, "critical": true, "audit": true, "notice": true} {
		f := filter{LogFilter: LogFilter{Level: "warning"}}
		require.Equal(t, want, f.takes(LogLine{Level: level}), level)
	}
	f := filter{LogFilter: LogFilter{Level: "critical"}}
	require.False(t, f.takes(LogLine{Level: "exception"}))
	require.True(t, f.takes(LogLine{Level: "fatal"}))
}
