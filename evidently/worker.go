package evidently

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxLine bounds one answer: a snapshot has about 60 kB a column.
const maxLine = 256 << 20

var errEnded = errors.New("ended")

// worker is one Python process that reads requests from its standard input and
// writes answers to its standard output.
type worker struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan []byte   // answers; never closed
	broke chan error    // an answer that is no line, once
	done  chan struct{} // closed when the process has ended and exit is set
	exit  error
	quit  chan struct{} // closed when lines has no reader any more
	words *tail
	ready bool
}

// boot reads the program from descriptor 3, so that neither a file nor a long
// argument is needed. -I keeps the working directory and the user's PYTHON
// variables out of the process's imports.
const boot = `exec(compile(open(3, "rb").read(), "runner.py", "exec"))`

func startWorker(opt RunnerOptions, script string) (*worker, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	w := &worker{
		cmd:   exec.Command(opt.Python, "-I", "-c", boot),
		lines: make(chan []byte),
		broke: make(chan error, 1),
		done:  make(chan struct{}),
		quit:  make(chan struct{}),
		words: &tail{log: opt.Logger},
	}
	w.cmd.Dir = opt.Dir
	w.cmd.Env = append(append(os.Environ(), opt.Env...), "DO_NOT_TRACK=1")
	w.cmd.Stderr = w.words
	w.cmd.ExtraFiles = []*os.File{in}
	w.cmd.WaitDelay = 2 * time.Second                       // a grandchild may hold stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which then ends the process
	w.stdin, err = w.cmd.StdinPipe()
	if err != nil {
		out.Close()
		return nil, err
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		out.Close()
		return nil, err
	}
	if err := w.cmd.Start(); err != nil {
		out.Close()
		return nil, err
	}
	go func() {
		_, _ = io.WriteString(out, script) // a process that does not read it ends, and that is seen
		out.Close()
	}()
	go w.read(stdout)
	return w, nil
}

// read passes on answers until the process has ended.
func (w *worker) read(stdout io.Reader) {
	in := bufio.NewReaderSize(stdout, 1<<20)
	for {
		line, err := readLine(in, maxLine)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				w.broke <- err
				_ = w.cmd.Process.Kill()
			}
			break
		}
		select {
		case w.lines <- line:
		case <-w.quit:
		}
	}
	w.exit = w.cmd.Wait()
	if w.exit == nil {
		w.exit = errors.New("exit status 0")
	}
	close(w.done)
}

// readLine reads up to a newline, at most limit bytes. A last line without one
// is no answer.
func readLine(in *bufio.Reader, limit int) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > limit:
			return nil, fmt.Errorf("answered more than %d bytes", limit)
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// send writes a request. That it could not be written is seen at receive: the
// process has ended.
func (w *worker) send(line []byte) {
	go func() { _, _ = w.stdin.Write(append(line, '\n')) }()
}

// receive waits for the next answer.
func (w *worker) receive(ctx context.Context, closed <-chan struct{}) ([]byte, error) {
	select {
	case line := <-w.lines:
		return line, nil
	case err := <-w.broke:
		return nil, err
	case <-w.done:
		select {
		case err := <-w.broke:
			return nil, err
		default:
			return nil, errEnded
		}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-closed:
		return nil, errEnded
	}
}

func (w *worker) hasEnded() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// kill ends the process and waits until it is gone. Once only.
func (w *worker) kill() {
	close(w.quit)
	_ = w.cmd.Process.Kill() // an error says that it has ended
	<-w.done
	w.stdin.Close()
}

// said is the end of what the process wrote to standard error, for a message.
func (w *worker) said() string {
	if s := w.words.last(); s != "" {
		return ": " + s
	}
	return ""
}

// tail keeps the end of a stream and logs its lines.
type tail struct {
	log *slog.Logger
	mu  sync.Mutex
	buf []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const most = 4 << 10
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - most; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	t.log.Debug("python", "service", service, "text", strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// last returns the last line that is not empty.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(string(t.buf)), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}
