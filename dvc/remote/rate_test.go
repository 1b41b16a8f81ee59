package remote

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

const perSecond = 10 << 10 // passes in chunks of 512 bytes, 20 a second

func TestAReaderKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, data := time.Now(), bytes.Repeat([]byte("x"), 5*perSecond)
		got, err := io.ReadAll(NewLimit(perSecond).Reader(t.Context(), bytes.NewReader(data)))
		require.NoError(t, err)
		require.Equal(t, data, got)
		require.InDelta(t, 5, time.Since(begin).Seconds(), 0.1)
	})
}

func TestAReaderWhoseContextIsDoneWaitsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin := time.Now()
		_, err := io.Copy(io.Discard, NewLimit(1).Reader(ctx, bytes.NewReader(make([]byte, 4096))))
		require.NoError(t, err)
		require.Zero(t, time.Since(begin))
	})
}

func TestBothDirectionsOfAConnectionShareItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		c := &limitedConn{Conn: a, l: NewLimit(perSecond), closed: make(chan struct{})}
		go func() { _, _ = io.Copy(b, b) }() // gives back what it gets
		begin := time.Now()
		wrote := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 2*perSecond))
			wrote <- err
		}()
		_, err := io.ReadFull(c, make([]byte, 2*perSecond))
		require.NoError(t, err)
		require.NoError(t, <-wrote)
		require.InDelta(t, 4, time.Since(begin).Seconds(), 0.2)
		require.NoError(t, c.Close())
		_, err = c.Write([]byte("x"))
		require.Error(t, err)
	})
}

func TestADialledConnectionIsLimitedAndPassesAll(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		_ = c.Close()
	}()
	c, err := NewLimit(1<<30).Dial(&net.Dialer{})(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	require.IsType(t, &limitedConn{}, c)
	_, err = c.Write([]byte("hello"))
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	require.NoError(t, c.Close())

	require.NoError(t, l.Close())
	_, err = NewLimit(1).Dial(&net.Dialer{})(t.Context(), "tcp", l.Addr().String())
	require.Error(t, err)
}

func TestNoLimitLimitsNothing(t *testing.T) {
	require.Nil(t, NewLimit(0))
	var none *Limit
	r := bytes.NewReader(nil)
	require.Same(t, r, none.Reader(t.Context(), r))
}

func TestASchemeHasOneDriver(t *testing.T) {
	open := func(context.Context, Config) (Store, error) { return nil, nil }
	Register("twice", open)
	t.Cleanup(func() { delete(openers, "twice") })
	require.Panics(t, func() { Register("twice", open) })
	require.Contains(t, Schemes(), "twice")
	_, err := Open(t.Context(), Config{Name: "far", URL: "nowhere://x?secret"})
	require.ErrorIs(t, err, mlops.ErrUnsupported)
	require.NotContains(t, err.Error(), "secret")
	_, err = Open(t.Context(), Config{Name: "near", URL: "/data"})
	require.ErrorContains(t, err, "dvc/remote/local")
	require.Empty(t, Scheme("file:///data"))
	require.Equal(t, "s3", Scheme("S3://bucket"))
}
