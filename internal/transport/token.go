package transport

import (
	"context"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

// Token is what a login gave.
type Token struct {
	Value   mlops.Secret
	Expires time.Time // zero: not known
}

// early is how long before its end a token is renewed, at most.
const early = 5 * time.Minute

// tokens keeps the current token; concurrent callers share one login.
type tokens struct {
	login func(context.Context) (Token, error)

	mu    sync.Mutex
	token Token
	renew time.Time
	going *login
}

type login struct {
	stop  context.CancelFunc
	done  chan struct{}
	token Token
	err   error
}

// current returns a valid token, logging in if there is none. A caller that
// gives up does not end the login for the others.
func (t *tokens) current(ctx context.Context) (mlops.Secret, error) {
	t.mu.Lock()
	if t.token.Value != "" && (t.renew.IsZero() || time.Now().Before(t.renew)) {
		defer t.mu.Unlock()
		return t.token.Value, nil
	}
	l := t.going
	if l == nil {
		apart, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		l = &login{stop: stop, done: make(chan struct{})}
		t.going = l
		go t.run(apart, l)
	}
	t.mu.Unlock()

	select {
	case <-l.done:
		return l.token.Value, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (t *tokens) run(ctx context.Context, l *login) {
	defer l.stop()
	begin := time.Now()
	l.token, l.err = t.login(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.going = nil
	if l.err == nil {
		t.token, t.renew = l.token, time.Time{}
		if !l.token.Expires.IsZero() {
			life := l.token.Expires.Sub(begin)
			t.renew = l.token.Expires.Add(-min(early, life/2))
		}
	}
	close(l.done)
}

// close ends a login that is under way, and forgets the token.
func (t *tokens) close() {
	t.mu.Lock()
	l := t.going
	t.token = Token{}
	t.mu.Unlock()
	if l != nil {
		l.stop()
		<-l.done
		t.drop(l.token.Value)
	}
}

// drop forgets the token that a server refused, unless it was replaced already.
func (t *tokens) drop(used mlops.Secret) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token.Value == used {
		t.token = Token{}
	}
}
