package evidently

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTimesAreReadWithAndWithoutAZone(t *testing.T) {
	for in, want := range map[string]string{
		`"2026-11-23T01:28:14.158896"`: "2026-11-23T01:28:14.158896Z",
		`"2026-11-23T01:28:14"`:        "2026-11-23T01:28:14Z",
		`"2026-11-23 01:28:14.5"`:      "2026-11-23T01:28:14.5Z",
		`"2026-11-23T01:28:14+02:00"`:  "2026-11-22T23:28:14Z",
		`"2023-11-14T22:13:20Z"`:       "2023-11-14T22:13:20Z",
		`null`:                         "0001-01-01T00:00:00Z",
	} {
		var got Time
		require.NoError(t, json.Unmarshal([]byte(in), &got), in)
		require.Equal(t, want, got.Format(time.RFC3339Nano), in)
	}
	for _, in := range []string{`""`, `"yesterday"`, `5`, `"2026-13-01T00:00:00"`, `{}`} {
		var got Time
		require.Error(t, json.Unmarshal([]byte(in), &got), in)
	}
}

func TestTimesAreWrittenInUTCWithoutAZone(t *testing.T) {
	at := Time{time.Date(2026, 1, 2, 3, 4, 5, 6_007_000, time.FixedZone("", 3600))}
	b, err := json.Marshal(at)
	require.NoError(t, err)
	require.Equal(t, `"2026-01-02T02:04:05.006007"`, string(b), "the service cannot sort times with a zone among those without")
	b, err = json.Marshal(Time{})
	require.NoError(t, err)
	require.Equal(t, "null", string(b))
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2026-11-23T01:28:14.158896", "2026-11-23T01:28:14+02:00", "2026-11-23 01:28:14Z", "", "T"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := ParseTime(s)
		if err != nil {
			return
		}
		again, err := ParseTime(at.String())
		if at.Year() >= 0 && at.Year() <= 9999 {
			require.NoError(t, err, s)
			require.True(t, again.Equal(at.Truncate(time.Microsecond)), "%s became %s", s, again)
		}
	})
}
