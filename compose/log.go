package compose

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Logs are kept up to this size and in this many old copies.
const (
	logSize   = 20 << 20
	logCopies = 3
)

// LogOptions says which lines [Stack.Logs] prints. The zero value is
// everything that the current log files hold.
type LogOptions struct {
	Services []string      // names or groups; none means all
	Follow   bool          // go on until the context ends
	Since    time.Duration // only what was written in the last while, as exact as 10 s; 0 is from the beginning
	Tail     int           // at most this many lines of each service; 0 is all
}

// Logs writes the services' logs to w. With more than one service each line
// begins with the service's name. Servers of a stopped stack have logs, too.
// With Follow it returns nil when ctx ends.
func (s *Stack) Logs(ctx context.Context, w io.Writer, opt LogOptions) error {
	r, err := s.carrier()
	if err != nil {
		return err
	}
	return r.logs(ctx, w, opt)
}

func (s processes) logs(ctx context.Context, w io.Writer, opt LogOptions) error {
	names, err := s.logNames(opt.Services)
	if err != nil {
		return err
	}
	type source struct {
		name string
		at   int64
		part []byte // an unfinished line
	}
	var sources []*source
	width := 0
	for _, n := range names {
		width = max(width, len(n))
		from, err := logStart(s.logPath(n), opt)
		if err != nil {
			return err
		}
		sources = append(sources, &source{name: n, at: from})
	}
	prefix := func(n string) string {
		if len(names) == 1 {
			return ""
		}
		return fmt.Sprintf("%-*s | ", width, n)
	}
	for {
		for _, src := range sources {
			b, at, err := readFrom(s.logPath(src.name), src.at)
			if err != nil {
				return err
			}
			src.at = at
			src.part = append(src.part, b...)
			for {
				line, rest, ok := bytes.Cut(src.part, []byte("\n"))
				if !ok {
					break
				}
				src.part = rest
				if _, err := fmt.Fprintf(w, "%s%s\n", prefix(src.name), line); err != nil {
					return err
				}
			}
			if !opt.Follow && len(src.part) > 0 {
				if _, err := fmt.Fprintf(w, "%s%s\n", prefix(src.name), src.part); err != nil {
					return err
				}
			}
		}
		if !opt.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(s.timing.poll):
		}
	}
}

func (s *base) logPath(service string) string {
	return filepath.Join(s.home, "logs", service+".log")
}

// logNames resolves what the user named; "supervisor" has a log as well.
func (s *Stack) logNames(want []string) ([]string, error) {
	var services, out []string
	for _, w := range want {
		if w == supervisorName {
			out = append(out, w)
		} else {
			services = append(services, w)
		}
	}
	if len(want) > 0 && len(services) == 0 {
		return out, nil
	}
	chosen, err := resolve(s.recipes(false), services, false)
	if err != nil {
		return nil, err
	}
	for _, v := range chosen {
		if _, err := os.Stat(s.logPath(v.name)); err == nil || len(want) > 0 {
			out = append(out, v.name)
		}
	}
	return out, nil
}

// readFrom returns what a log holds from at on, whole at once; a log that
// became shorter was rotated and is read from its beginning.
func readFrom(path string, at int64) ([]byte, int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, at, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, at, err
	}
	if info.Size() < at {
		at = 0
	}
	if _, err := f.Seek(at, io.SeekStart); err != nil {
		return nil, at, err
	}
	b, err := io.ReadAll(io.LimitReader(f, 4*logSize))
	return b, at + int64(len(b)), err
}

// logStart is the place in a log where the wanted lines begin.
func logStart(path string, opt LogOptions) (int64, error) {
	var from int64
	if opt.Since > 0 {
		from = markedBefore(path, time.Now().Add(-opt.Since))
	}
	if opt.Tail <= 0 {
		return from, nil
	}
	b, end, err := readFrom(path, from)
	if err != nil {
		return 0, err
	}
	at := len(bytes.TrimSuffix(b, []byte("\n")))
	for range opt.Tail {
		if at = bytes.LastIndexByte(b[:at], '\n'); at < 0 {
			return end - int64(len(b)), nil
		}
	}
	return end - int64(len(b)) + int64(at) + 1, nil
}

// tail returns the last n lines that a log holds from a place on.
func tail(path string, from int64, n int) []string {
	b, _, err := readFrom(path, from)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

// lengthOf is how much a log holds now.
func lengthOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// rotate keeps a log below limit: what it holds is copied to log.1, the older
// copies move on, and the log is cut to nothing. The server keeps writing to
// the same file, which it opened to append; a line that it writes between the
// copy and the cut is lost.
func rotate(path string, limit int64) error {
	info, err := os.Stat(path)
	if err != nil || info.Size() < limit {
		return nil
	}
	for i := logCopies - 1; i >= 1; i-- {
		_ = os.Rename(path+"."+strconv.Itoa(i), path+"."+strconv.Itoa(i+1))
	}
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	_ = os.Remove(markPath(path))
	return os.Truncate(path, 0)
}

// Beside each log lies a file of times and sizes, for [LogOptions.Since]: the
// servers' own time stamps have as many forms as there are servers.
func markPath(log string) string {
	return filepath.Join(filepath.Dir(log), "."+filepath.Base(log)+".times")
}

// markLog notes how long a log is now.
func markLog(path string, now time.Time) {
	info, err := os.Stat(path)
	if err != nil {
		return
	}
	f, err := os.OpenFile(markPath(path), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "%d %d\n", now.Unix(), info.Size())
}

// markedBefore is the last noted length before a moment.
func markedBefore(path string, moment time.Time) int64 {
	f, err := os.Open(markPath(path))
	if err != nil {
		return 0
	}
	defer f.Close()
	var at int64
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var when, size int64
		if _, err := fmt.Sscanf(lines.Text(), "%d %d", &when, &size); err != nil || when > moment.Unix() {
			break
		}
		at = size
	}
	return at
}
