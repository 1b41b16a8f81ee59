package compose

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestAnErrorKeepsItsKindThroughTheSocket(t *testing.T) {
	through := func(err error) error {
		line, encodeErr := json.Marshal(answer{Done: true, Error: wire(err)})
		require.NoError(t, encodeErr)
		var got answer
		require.NoError(t, json.Unmarshal(line, &got))
		return got.err()
	}
	for _, kind := range append(mlops.Kinds(), errInterrupted) {
		got := through(&mlops.Error{Kind: kind, Service: "compose", Message: "why"})
		require.ErrorIs(t, got, kind)
		require.EqualError(t, got, "compose: why")
	}
	for range 20 { // a map's order would show
		got := through(errors.Join(mlops.ErrUnavailable, mlops.ErrAlreadyExists, mlops.ErrInvalid))
		require.Equal(t, mlops.ErrAlreadyExists, mlops.KindOf(got))
		require.NotErrorIs(t, got, mlops.ErrUnavailable)
	}
	start := &StartError{Service: "mlflow", Reason: "not ready"}
	got := through(errors.Join(start, mlops.ErrConflict))
	require.ErrorIs(t, got, mlops.ErrConflict)
	_, ok := errors.AsType[*StartError](got)
	require.True(t, ok, "the log's lines travel, too")
	require.NoError(t, through(nil))
	require.Nil(t, mlops.KindOf(through(errors.New("plain"))))
}
