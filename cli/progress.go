package cli

import (
	"fmt"
	"io"
	"sync"

	"github.com/charmbracelet/lipgloss"
)

// progress tells on stderr what long work is doing: on a terminal one line
// that is redrawn, in a pipe one line per change. It is safe for concurrent
// use.
//
//	p := e.progress()
//	defer p.done()
//	p.set("mlflow: starting")
type progress struct {
	w     io.Writer
	quiet bool
	live  bool // redraw in place
	width func(io.Writer) int

	mu   sync.Mutex
	last string
}

func (e *env) progress() *progress {
	live := e.terminal(e.stderr) && e.getenv("TERM") != "dumb"
	return &progress{w: e.stderr, quiet: e.quiet, live: live, width: e.width}
}

// set says what is going on now.
func (p *progress) set(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := oneLine(fmt.Sprintf(format, args...))
	if p.quiet || s == p.last {
		return
	}
	p.last = s
	if !p.live {
		fmt.Fprintln(p.w, s)
		return
	}
	fmt.Fprint(p.w, eraseLine+p.fitted(s))
}

// keep writes a line that stays, above the one that is redrawn.
func (p *progress) keep(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := oneLine(fmt.Sprintf(format, args...))
	switch {
	case p.quiet:
	case !p.live:
		fmt.Fprintln(p.w, s)
	case p.last == "":
		fmt.Fprintln(p.w, s)
	default:
		fmt.Fprint(p.w, eraseLine+s+"\n"+p.fitted(p.last))
	}
}

// done takes the line away.
func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live && !p.quiet && p.last != "" {
		fmt.Fprint(p.w, eraseLine)
	}
	p.last = ""
}

// eraseLine goes to the first column and clears the line.
const eraseLine = "\r\x1b[K"

// fitted cuts s so that it does not wrap: a wrapped line cannot be redrawn.
func (p *progress) fitted(s string) string {
	return lipgloss.NewStyle().Inline(true).MaxWidth(max(1, p.width(p.w)-1)).Render(s)
}
