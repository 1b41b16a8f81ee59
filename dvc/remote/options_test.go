package remote_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/remote"
)

func TestOptionsAreReadAsDVCReadsThem(t *testing.T) {
	c := remote.Config{Name: "r", URL: "https://u:hunter2@h/x", Options: map[string]string{
		"yes": "True", "no": "false", "n": " 7 ", "s": "1.5", "password": "hunter2", "odd": "hunter2", "zero": "0",
	}}
	yes, err := c.Bool("yes", false)
	require.NoError(t, err)
	no, err := c.Bool("no", true)
	require.NoError(t, err)
	def, err := c.Bool("unset", true)
	require.NoError(t, err)
	require.Equal(t, []bool{true, false, true}, []bool{yes, no, def})
	n, err := c.Int("n", 1)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	s, err := c.Seconds("s", time.Minute)
	require.NoError(t, err)
	require.Equal(t, 1500*time.Millisecond, s)
	for _, key := range []string{"odd", "zero"} {
		_, err := c.Bool(key, false)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		_, err = c.Int(key, 1)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		_, err = c.Seconds(key, 1)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.NotContains(t, fmt.Sprint(c, c.Secret("password"))+fmt.Sprintf("%v %+v %#v", c, c, c), "hunter2")
	require.Equal(t, "hunter2", string(c.Secret("password")))
}
