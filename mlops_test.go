package mlops_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestErrorSpeaksTheServersWordsAndMatchesItsKind(t *testing.T) {
	err := fmt.Errorf("promote: %w", &mlops.Error{
		Kind: mlops.ErrNotFound, Service: "mlflow", Op: "Models.VersionByAlias", Status: 404,
		Code: "RESOURCE_DOES_NOT_EXIST", Message: "Registered Model\nwith name=nope not found", Cause: io.EOF,
	})
	require.EqualError(t, err, "promote: mlflow: Models.VersionByAlias: Registered Model with name=nope not found (RESOURCE_DOES_NOT_EXIST)")
	require.ErrorIs(t, err, mlops.ErrNotFound)
	require.ErrorIs(t, err, io.EOF)
	require.NotErrorIs(t, err, mlops.ErrInvalid)
	e, ok := errors.AsType[*mlops.Error](err)
	require.True(t, ok)
	require.Equal(t, 404, e.Status)
}

func TestErrorWithoutMessageFallsBackToCauseThenKind(t *testing.T) {
	require.EqualError(t, &mlops.Error{Service: "dvc", Op: "Push", Cause: io.ErrUnexpectedEOF}, "dvc: Push: unexpected EOF")
	require.EqualError(t, &mlops.Error{Service: "dvc", Kind: mlops.ErrConflict}, "dvc: conflict")
}

func TestSecretNeverShowsItself(t *testing.T) {
	const canary = "hunter2canary"
	v := struct {
		Auth mlops.Auth
		P    *mlops.Secret
	}{Auth: mlops.Auth{Username: "u", Password: canary, Token: canary}, P: new(mlops.Secret(canary))}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", v)
		fmt.Fprintf(&out, verb+"\n", v.Auth.Password)
	}
	require.NoError(t, json.NewEncoder(&out).Encode(v))
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "secret", v.Auth.Password, "auth", v.Auth)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "secret", v.Auth.Password, "auth", v.Auth)
	require.NotContains(t, out.String(), canary)
	require.NotContains(t, out.String(), fmt.Sprintf("%x", canary))
	require.Contains(t, out.String(), mlops.Redacted)
	require.Empty(t, mlops.Secret("").String(), "an unset secret must look unset")
}

func TestAuthHeaders(t *testing.T) {
	for _, tt := range []struct {
		name, key, want string
		auth            mlops.Auth
	}{
		{"anonymous", "Authorization", "", mlops.Auth{}},
		{"basic", "Authorization", "Basic dTpw", mlops.Auth{Username: "u", Password: "p"}},
		{"bearer wins over basic", "Authorization", "Bearer t", mlops.Auth{Username: "u", Password: "p", Token: "t"}},
		{"own header", "Evidently-Secret", "t", mlops.Auth{Token: "t", Header: "evidently-secret"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			tt.auth.Apply(h)
			require.Equal(t, tt.want, h.Get(tt.key))
			require.Equal(t, tt.auth == mlops.Auth{}, tt.auth.IsZero())
		})
	}
}

func TestCollectStopsAtTheFirstError(t *testing.T) {
	var seq iter.Seq2[int, error] = func(yield func(int, error) bool) {
		_ = yield(1, nil) && yield(2, nil) && yield(0, io.EOF) && yield(3, nil)
	}
	got, err := mlops.Collect(seq)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, []int{1, 2}, got)
}

func TestKindOfStatus(t *testing.T) {
	for status, want := range map[int]error{
		0: mlops.ErrUnavailable, 300: mlops.ErrInvalid, 400: mlops.ErrInvalid, 401: mlops.ErrUnauthenticated, 403: mlops.ErrForbidden, 404: mlops.ErrNotFound, 405: mlops.ErrUnsupported,
		408: mlops.ErrUnavailable, 409: mlops.ErrConflict, 410: mlops.ErrNotFound, 412: mlops.ErrConflict, 413: mlops.ErrInvalid, 418: mlops.ErrInvalid,
		422: mlops.ErrInvalid, 423: mlops.ErrConflict, 425: mlops.ErrUnavailable, 429: mlops.ErrRateLimited, 500: mlops.ErrUnavailable,
		501: mlops.ErrUnsupported, 502: mlops.ErrUnavailable, 503: mlops.ErrUnavailable, 504: mlops.ErrUnavailable, 505: mlops.ErrUnsupported, 599: mlops.ErrUnavailable,
	} {
		if got := mlops.KindOfStatus(status); got != want {
			t.Errorf("KindOfStatus(%d) is %v, want %v", status, got, want)
		}
	}
}

func TestAnErrorOfSeveralKindsHasOneThatDoesNotChange(t *testing.T) {
	require.Nil(t, mlops.KindOf(nil))
	require.Nil(t, mlops.KindOf(io.EOF))
	for i, first := range mlops.Kinds() {
		require.Equal(t, first, mlops.KindOf(fmt.Errorf("wrapped: %w", first)))
		for _, second := range mlops.Kinds()[i:] {
			require.Equal(t, first, mlops.KindOf(errors.Join(second, first)), "what is certain comes before what may pass")
		}
	}
}
