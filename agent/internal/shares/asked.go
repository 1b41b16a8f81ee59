package shares

import (
	"context"
	"time"
)

// asked is a value that something slow tells: a server, a program. There is one
// question at a time, and the look that puts it waits for the answer only for a
// moment: what does not answer holds up no division. The zero value is ready to use.
type asked[T any] struct {
	last   T
	fault  error     // of the last question
	began  time.Time // the last question
	told   time.Time // the last answer
	answer chan result[T]
}

type result[T any] struct {
	value T
	err   error
}

// How long a look waits for an answer, and how long a question may take.
const (
	moment    = 300 * time.Millisecond
	firstTime = 3 * time.Second // while nothing was ever told
	longest   = 25 * time.Second
)

// get returns the last answer, and asks if the last question is as old as every. A
// question that fails changes only the fault.
func (a *asked[T]) get(ctx context.Context, now time.Time, every time.Duration, ask func(context.Context) (T, error)) T {
	patience := time.Duration(0)
	since := now.Sub(a.began)
	if due := a.began.IsZero() || since >= every || since < 0; a.answer == nil && due {
		patience = moment
		if a.began.IsZero() {
			patience = firstTime
		}
		a.began, a.answer = now, make(chan result[T], 1)
		go question(context.WithoutCancel(ctx), ask, a.answer)
	}
	if a.answer == nil {
		return a.last
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case r := <-a.answer:
		a.answer = nil
		if a.fault = r.err; r.err == nil {
			a.last, a.told = r.value, now
		}
	case <-wait.C:
	case <-ctx.Done():
	}
	return a.last
}

func question[T any](ctx context.Context, ask func(context.Context) (T, error), answer chan<- result[T]) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	v, err := ask(ctx)
	answer <- result[T]{v, err}
}
