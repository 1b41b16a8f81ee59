package applesilicon

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// line is one line of a recording: the facts first, then frames.
type line struct {
	Facts *facts `json:"facts,omitempty"`
	Frame *frame `json:"frame,omitempty"`
}

// recorder writes lines as a source gives them.
type recorder struct{ w io.Writer }

func (r *recorder) facts(f *facts) error   { return r.line(line{Facts: f}) }
func (r *recorder) frame(now *frame) error { return r.line(line{Frame: now}) }

func (r *recorder) line(l line) error {
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = r.w.Write(append(b, '\n'))
	return err
}

// replay is a source that reads a recording.
type replay struct {
	lines *bufio.Scanner
	f     *facts
	at    int
}

// maxLine is far above a machine's largest frame, of some 100 kB.
const maxLine = 8 << 20

func newReplay(r io.Reader) (*replay, error) {
	p := &replay{lines: bufio.NewScanner(r)}
	p.lines.Buffer(nil, maxLine)
	l, err := p.next()
	if err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("applesilicon: recording: %w", err)
	}
	if l.Facts == nil {
		return nil, fmt.Errorf("applesilicon: recording: the first line has no facts")
	}
	p.f = l.Facts
	return p, nil
}

func (p *replay) facts() (*facts, error) { return p.f, nil }
func (p *replay) close() error           { return nil }

func (p *replay) read(now *frame) error {
	l, err := p.next()
	switch {
	case err == io.EOF:
		return err
	case err != nil:
		return fmt.Errorf("applesilicon: recording: %w", err)
	case l.Frame == nil:
		return fmt.Errorf("applesilicon: recording: line %d has no frame", p.at)
	}
	*now = *l.Frame
	return nil
}

func (p *replay) next() (line, error) {
	for p.lines.Scan() {
		p.at++
		if len(p.lines.Bytes()) == 0 {
			continue
		}
		var l line
		if err := json.Unmarshal(p.lines.Bytes(), &l); err != nil {
			return line{}, fmt.Errorf("line %d: %w", p.at, err)
		}
		return l, nil
	}
	if err := p.lines.Err(); err != nil {
		return line{}, err
	}
	return line{}, io.EOF
}
