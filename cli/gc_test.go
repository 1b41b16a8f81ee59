package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/compose"
)

func TestAgesAreThoseOfMLflow(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0s": 0, "30d": 720 * time.Hour, "12h": 12 * time.Hour, "1d2h3m4s": 26*time.Hour + 3*time.Minute + 4*time.Second, "90m": 90 * time.Minute,
	} {
		got, err := ageOf(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
	}
	for _, s := range []string{"", "soon", "30", "-1d", "1w", "1h1d", "1.5d", "9999999d", " 1d"} {
		_, err := ageOf(s)
		require.ErrorContains(t, err, "--older-than", s)
	}
}

func TestASummaryCountsWhatCanBeRemoved(t *testing.T) {
	require.Empty(t, summary([]compose.Garbage{{SizeBytes: 9, KeptFor: "wine version 1"}}))
	require.Equal(t, "2 runs with 1.0 KiB of artifacts", summary([]compose.Garbage{{SizeBytes: 1023}, {SizeBytes: 7, KeptFor: "a trace"}, {SizeBytes: 1}}))
}

func TestGCIsForTheStacksOwnMLflow(t *testing.T) {
	new(nothingThere).ofServers(t)
	code, out, talk := call(t, "gc --all --yes")
	require.Equal(t, exitFailed, code, talk)
	require.Empty(t, out)
	require.Contains(t, talk, "is not the MLflow of the stack of")
	code, _, talk = call(t, "gc --yes")
	require.Equal(t, exitUsage, code, talk)
	require.Contains(t, talk, "mlopsctl gc --all")
}
