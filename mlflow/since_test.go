package mlflow

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/internal/cassette"
)

// since skips a test on a real server that is older than release, and names
// the calls that are missing there. Recorded answers are of the newest.
func since(t *testing.T, s *cassette.Session, release, calls string) {
	t.Helper()
	if !s.Live {
		return
	}
	c, err := New(Options{URL: s.URL, Auth: s.Auth, HTTP: &http.Client{}}) // not through the recorder
	require.NoError(t, err)
	v, err := c.Version(t.Context())
	require.NoError(t, err)
	if older(v, release) {
		t.Skipf("MLflow %s does not have %s; that came with %s", v, calls, release)
	}
}

// older compares releases by major and minor number.
func older(v, than string) bool {
	part := func(s string, i int) int {
		p := strings.Split(s, ".")
		if i >= len(p) {
			return 0
		}
		n, _ := strconv.Atoi(p[i])
		return n
	}
	return cmp.Or(cmp.Compare(part(v, 0), part(than, 0)), cmp.Compare(part(v, 1), part(than, 1))) < 0
}

func TestReleasesAreComparedByNumber(t *testing.T) {
	for _, tt := range []struct {
		v, than string
		want    bool
	}{{"2.8.1", "2.22", true}, {"2.22.5", "3.0", true}, {"3.17.2", "3.17", false}, {"3.17.2", "3.9", false}, {"2.22.5", "2.8", false}} {
		require.Equal(t, tt.want, older(tt.v, tt.than), "%s older than %s", tt.v, tt.than)
	}
}
