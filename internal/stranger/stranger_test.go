package stranger

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatAStrangerIsSentIsSeen(t *testing.T) {
	s := New(t)
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/path", strings.NewReader("body-canary"))
	require.NoError(t, err)
	req.SetBasicAuth("u", "password-canary")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	for _, want := range []string{"POST /path", "body-canary", "u:password-canary"} {
		require.Contains(t, s.Got(), want)
	}
	_, err = Listen(t, strings.TrimPrefix(s.URL, "http://"))
	require.Error(t, err, "the port is taken")
}
