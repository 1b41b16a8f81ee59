package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalled is the reason why a command ended early.
type signalled struct{ sig syscall.Signal }

func (s *signalled) Error() string {
	if s.sig == syscall.SIGINT {
		return "interrupted"
	}
	return s.sig.String()
}

// Signals returns a context that ends with Ctrl-C or SIGTERM, so that [Main]
// ends in order; a second one ends the program at once. A signal that the
// program was started to ignore, as by nohup, is ignored.
func Signals() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	ch := make(chan os.Signal, 1)
	listen(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		sig := <-ch
		signal.Stop(ch)
		cancel(&signalled{sig.(syscall.Signal)})
	}()
	return ctx
}

// listen is signal.Notify without the signals that are ignored.
func listen(ch chan<- os.Signal, sigs ...syscall.Signal) {
	for _, s := range sigs {
		if !signal.Ignored(s) {
			signal.Notify(ch, s)
		}
	}
}
