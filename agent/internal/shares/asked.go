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
	told   time.Time // the last question that was answered
	answer chan result[T]
}

type result[T any] struct {
	value T
	err   error
}

// How long a look waits for an answer, and how long a question may take.
const (
	moment    = 300 * time.Millisecond
	firstTime = 3 * time.Second // at the first question
	longest   = 25 * time.Second
)

// get returns the last answer, and asks if the last question is as old as every. A
// question that fails changes only the fault.
func (a *asked[T]) get(ctx context.Context, now time.Time, every time.Duration, ask func(context.Context) (T, error)) T {
	a.take() // what came since the last look
	if since := now.Sub(a.began); a.answer != nil || !a.began.IsZero() && since >= 0 && since < every {
		return a.last
	}
	patience := moment
	if a.began.IsZero() {
		patience = firstTime
	}
	a.began, a.answer = now, make(chan result[T], 1)
	go question(context.WithoutCancel(ctx), ask, a.answer)
	wait := time.NewTimer(patience)
	defer wait.Stop()
	select {
	case r := <-a.answer:
		a.answer <- r
		a.take()
	case <-wait.C:
	case <-ctx.Done():
	}
	return a.last
}

// take keeps an answer that has come. It is as old as its question.
func (a *asked[T]) take() {
	select {
	case r := <-a.answer:
		a.answer = nil
		if a.fault = r.err; r.err == nil {
			a.last, a.told = r.value, a.began
		}
	default: // there is none, or no question
	}
}

func question[T any](ctx context.Context, ask func(context.Context) (T, error), answer chan<- result[T]) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	v, err := ask(ctx)
	answer <- result[T]{v, err}
}
