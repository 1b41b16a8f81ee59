package transport

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestOnceLooksBeforeItRepeats(t *testing.T) {
	away := &mlops.Error{Kind: mlops.ErrUnavailable}
	none := &mlops.Error{Kind: mlops.ErrNotFound}
	for _, tt := range []struct {
		name            string
		create, find    []error // one per call; the last one for all further calls
		created, looked int
		want            error
	}{
		{"made at once", []error{nil}, nil, 1, 0, nil},
		{"refused", []error{&mlops.Error{Kind: mlops.ErrInvalid}}, nil, 1, 0, mlops.ErrInvalid},
		{"made, answer lost", []error{away}, []error{nil}, 1, 1, nil},
		{"not made, made at the second try", []error{away, nil}, []error{none}, 2, 1, nil},
		{"made at the second try, both answers lost", []error{away}, []error{none, nil}, 2, 2, nil},
		{"never made", []error{away}, []error{none}, 3, 3, mlops.ErrUnavailable},
		{"cannot be looked for", []error{away}, []error{away}, 1, 1, mlops.ErrUnavailable},
		{"another is there", []error{away}, []error{&mlops.Error{Kind: mlops.ErrAlreadyExists}}, 1, 1, mlops.ErrAlreadyExists},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, "http://127.0.0.1:1", Options{Tries: 3})
			step := func(n *int, all []error) func() (int, error) {
				return func() (int, error) {
					err := all[min(*n, len(all)-1)]
					*n++
					if err != nil {
						return 0, err
					}
					return 7, nil
				}
			}
			created, looked := 0, 0
			v, err := Once(t.Context(), c, step(&created, tt.create), step(&looked, tt.find))
			require.Equal(t, tt.created, created)
			require.Equal(t, tt.looked, looked)
			if tt.want == nil {
				require.NoError(t, err)
				require.Equal(t, 7, v)
			} else {
				require.ErrorIs(t, err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Once(ctx, client(t, "http://127.0.0.1:1", Options{}), func() (int, error) { return 0, away }, func() (int, error) { panic("looked for after the context ended") })
	require.ErrorIs(t, err, mlops.ErrUnavailable)
}

func TestGoneTakesARepeatThatFindsNothingForSuccess(t *testing.T) {
	n := 0
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if n++; n == 1 {
			reset(t, w, "") // done, and the answer lost
			return
		}
		w.WriteHeader(http.StatusNotFound)
	})
	c := client(t, s.URL, Options{})
	remove := func() error {
		_, err := Do[None](t.Context(), c, Call{Op: "Remove", Method: "DELETE", Path: "/thing"})
		return err
	}
	require.NoError(t, Gone(t.Context(), c, remove))
	require.ErrorIs(t, Gone(t.Context(), c, remove), mlops.ErrNotFound, "the first answer counts")
}

func TestAClientThatNewDidNotMakeIsAnError(t *testing.T) {
	for _, c := range []*Client{nil, {}} {
		_, err := Do[None](t.Context(), c, get(true))
		require.ErrorIs(t, err, mlops.ErrInvalid)
		_, err = Bytes(t.Context(), c, get(true))
		require.ErrorIs(t, err, mlops.ErrInvalid)
		_, err = Open(t.Context(), c, get(true))
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.Empty(t, c.URL())
		_, err = Once(t.Context(), c, func() (None, error) { return Do[None](t.Context(), c, post(false)) }, nil)
		require.ErrorIs(t, err, mlops.ErrInvalid)
		err = Gone(t.Context(), c, func() error { _, err := Do[None](t.Context(), c, post(false)); return err })
		require.ErrorIs(t, err, mlops.ErrInvalid)
		require.False(t, errors.Is(err, mlops.ErrUnavailable))
	}
}
