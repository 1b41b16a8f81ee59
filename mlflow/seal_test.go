package mlflow

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// TestWhatLoggedWithoutAnErrorIsNotDeletedByAnEnd stops a Log call just before
// it writes and an end just before it deletes the journal, and lets the first go
// on before the second.
func TestWhatLoggedWithoutAnErrorIsNotDeletedByAnEnd(t *testing.T) {
	logs := map[string]func(*Run) error{
		"metric": func(r *Run) error { return r.LogMetric(t.Context(), 7, "late", 1) },
		"param":  func(r *Run) error { return r.LogParam(t.Context(), "late", 1) },
		"text":   func(r *Run) error { return r.LogText(t.Context(), "late", "late.txt") },
	}
	ends := map[string]func(*Client, *Run) error{
		"End":          func(_ *Client, r *Run) error { return r.End(t.Context(), nil) },
		"Close":        func(_ *Client, r *Run) error { return r.Close() },
		"Client.Close": func(c *Client, _ *Run) error { return c.Close() },
	}
	for what, log := range logs {
		for name, end := range ends {
			t.Run(what+" beside "+name, func(t *testing.T) {
				var mu sync.Mutex
				var got []string
				dir := t.TempDir()
				c := faulty(t, Journal{Dir: dir}, func(path, body string) (int, error) {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, path+" "+body)
					return 200, nil
				})
				writes, deletes := newStop(), newStop()
				var armed atomic.Bool // the sender passes, too, while the run is made
				c.onPass = func(place string) {
					switch {
					case !armed.Load():
					case place == "append":
						writes.pause()
					case place == "let go":
						deletes.pause()
					}
				}
				r := startOne(t, c)
				require.NoError(t, r.Flush(t.Context()))
				armed.Store(true)
				logged, ended := make(chan error, 1), make(chan error, 1)
				go func() { logged <- log(r) }()
				<-writes.there
				go func() { ended <- end(c, r) }()
				<-deletes.there
				close(writes.on)
				lerr := <-logged
				close(deletes.on)
				require.NoError(t, <-ended)
				mu.Lock()
				sent := fmt.Sprint(got)
				mu.Unlock()
				kept := 0
				for b, err := range Backlogs(dir) {
					require.NoError(t, err)
					kept += b.Waiting
				}
				if lerr != nil {
					require.ErrorIs(t, lerr, mlops.ErrInvalid)
					require.ErrorContains(t, lerr, "the run is closed")
					return
				}
				require.True(t, kept > 0 || strings.Contains(sent, "late"), "the call returned nil, and its record is nowhere")
			})
		}
	}
}

// stop is a place where one goroutine waits until it is let on; others pass.
type stop struct {
	there, on chan struct{}
	once      sync.Once
}

func newStop() *stop { return &stop{there: make(chan struct{}), on: make(chan struct{})} }

func (s *stop) pause() {
	s.once.Do(func() {
		close(s.there)
		<-s.on
	})
}
