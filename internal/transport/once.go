package transport

import (
	"context"
	"errors"
	"time"

	"github.com/mlops-integration/mlops"
)

// Once makes a thing exactly once. When it is not known whether the server
// acted on create, because the answer was lost or came from something in
// between, find looks for the thing before create is repeated. The error of
// find matches [mlops.ErrNotFound] if there is none.
func Once[T any](ctx context.Context, c *Client, create, find func() (T, error)) (T, error) {
	for try := 0; ; try++ {
		v, err := create()
		if !unsure(err) || c.rest(ctx, try) != nil {
			return v, err
		}
		found, ferr := find()
		if !errors.Is(ferr, mlops.ErrNotFound) {
			if errors.Is(ferr, mlops.ErrUnavailable) { // the server is away, as create says
				ferr = err
			}
			return found, ferr
		}
		if try+1 >= c.opt.Tries {
			return v, err
		}
	}
}

// Gone deletes a thing: that a repeated request finds nothing means that an
// earlier one, whose answer was lost, did it.
func Gone(ctx context.Context, c *Client, remove func() error) error {
	err := remove()
	for try := 0; unsure(err) && c != nil && try+1 < c.opt.Tries && c.rest(ctx, try) == nil; try++ {
		if err = remove(); errors.Is(err, mlops.ErrNotFound) {
			return nil
		}
	}
	return err
}

// unsure reports whether the server may have acted although err came back.
func unsure(err error) bool {
	return errors.Is(err, mlops.ErrUnavailable) && !undelivered(err)
}

// rest waits as between two tries of one call, until ctx ends.
func (c *Client) rest(ctx context.Context, try int) error {
	a := attempt{client: c}
	t := time.NewTimer(a.backoff(c.pause, c.longest, try, nil))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}
