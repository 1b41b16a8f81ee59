package applesilicon

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/mlops-integration/mlops"
)

// Options choose where readings come from. The zero value is this machine, as
// its user may read it.
type Options struct {
	// Replay reads a recording instead of this machine. Reads do not wait,
	// and after the last frame the error is [io.EOF].
	Replay io.Reader

	// Record gets what is read, undecoded, as lines of JSON. It holds no
	// serial number and no user's name. Only a Mac's readings can be recorded.
	Record io.Writer

	// Powermetrics asks Apple's powermetrics for power that the system keeps
	// from ordinary users. It is run as "sudo -n", so it never asks for a
	// password: without a rule in sudoers, readings carry the reason.
	Powermetrics bool

	// Process is the program whose use of GPU and memory is read; 0: this one.
	Process int
}

// Machine is a machine that is being read. Its methods are safe for concurrent
// use.
type Machine struct {
	mu     sync.Mutex
	src    source // nil: not a Mac
	d      *decoder
	rec    *recorder
	replay bool
	pm     *powermetrics
	now    frame
	before times     // of a machine that is not a Mac
	last   time.Time // when it was last read
	closed bool
}

// window is the shortest interval for which power is meaningful.
const window = 100 * time.Millisecond

// Open begins to read this machine. On a system other than macOS, what only
// Apple Silicon has carries a reason.
func Open(ctx context.Context, o Options) (*Machine, error) {
	if o.Replay != nil {
		src, err := newReplay(o.Replay)
		if err != nil {
			return nil, err
		}
		return openSource(src, o)
	}
	src, err := openNative(o.Process, false)
	if err == nil {
		return openSource(src, o)
	}
	if !errors.Is(err, mlops.ErrUnsupported) {
		return nil, err
	}
	if o.Record != nil || o.Powermetrics {
		return nil, err
	}
	return &Machine{before: processor(ctx), last: time.Now()}, nil
}

// unsupported is a system that has none of what is asked for.
func unsupported(op, message string) error {
	return &mlops.Error{Kind: mlops.ErrUnsupported, Service: "applesilicon", Op: op, Message: message}
}

// openSource takes the first frame, from which rates are measured.
func openSource(src source, o Options) (*Machine, error) {
	f, err := src.facts()
	if err != nil {
		return nil, errors.Join(err, src.close())
	}
	m := &Machine{src: src, d: newDecoder(f), replay: o.Replay != nil}
	if o.Record != nil {
		m.rec = &recorder{w: o.Record}
		if err := m.rec.facts(f); err != nil {
			return nil, errors.Join(err, src.close())
		}
	}
	if _, err := m.frame(); err != nil {
		return nil, errors.Join(err, src.close())
	}
	if o.Powermetrics {
		m.pm = startPowermetrics(powermetricsCommand, (*os.Process).Kill)
	}
	return m, nil
}

// frame reads and decodes one frame.
func (m *Machine) frame() (Sample, error) {
	if err := m.src.read(&m.now); err != nil {
		return Sample{}, err
	}
	m.last = time.Now()
	s := m.d.step(&m.now)
	if m.rec != nil {
		if err := m.rec.frame(&m.now); err != nil {
			return s, err
		}
	}
	if m.pm != nil {
		m.pm.fill(&s)
	}
	return s, nil
}

// Read takes one sample, over the time since the one before. It waits until
// that is at least 100 ms.
//
// Fields that this machine does not offer carry a Reason; the error is only
// for a machine that offers none, and matches [mlops.ErrUnsupported], for a
// context that is done, and for the end of a recording.
func (m *Machine) Read(ctx context.Context) (Sample, error) {
	m.mu.Lock()
	rest := window - time.Since(m.last)
	if m.replay {
		rest = 0
	}
	m.mu.Unlock()
	if rest > 0 {
		wait := time.NewTimer(rest)
		defer wait.Stop()
		select {
		case <-ctx.Done():
		case <-wait.C:
		}
	}
	return m.sample(ctx)
}

// sample is Read without waiting.
func (m *Machine) sample(ctx context.Context) (Sample, error) {
	if err := context.Cause(ctx); err != nil {
		return Sample{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Sample{}, &mlops.Error{Kind: mlops.ErrInvalid, Service: "applesilicon", Op: "Read", Message: "the machine is closed"}
	}
	if m.src == nil {
		s, err := m.host(ctx)
		return s, errors.Join(err, context.Cause(ctx))
	}
	s, err := m.frame()
	if err != nil {
		return s, err
	}
	if m.replay {
		s.Disk = Disk{unread[uint64](noRecord), unread[uint64](noRecord), unread[float64](noRecord)}
		s.Network = Network{unread[uint64](noRecord), unread[uint64](noRecord)}
		return s, nil
	}
	diskOfRoot(ctx, &s)
	network(ctx, &s)
	return s, context.Cause(ctx)
}

// host reads a machine that is not a Mac.
func (m *Machine) host(ctx context.Context) (Sample, error) {
	s := Sample{Time: time.Now(), Host: Host{OS: runtime.GOOS, Arch: runtime.GOARCH}}
	s.Window, m.last = s.Time.Sub(m.last), s.Time
	s.appleOnly(notApple)
	hostFacts(ctx, &s)
	now := processor(ctx)
	s.CPU.Percent = busy(m.before, now)
	m.before = now
	memory(ctx, &s)
	diskOfRoot(ctx, &s)
	network(ctx, &s)
	if !s.CPU.Percent.OK && !s.Memory.Bytes.OK && !s.Disk.AvailableBytes.OK && !s.Network.SentBytes.OK && ctx.Err() == nil {
		return s, unsupported("Read", "nothing can be read here: "+s.Memory.Bytes.Reason)
	}
	return s, nil
}

// Watch takes a sample every so often, not more often than once in 100 ms,
// until ctx is done, which ends the loop without an error, or a recording
// ends. An error is told once and ends it, too.
func (m *Machine) Watch(ctx context.Context, every time.Duration) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		tick := time.NewTicker(max(every, window))
		defer tick.Stop()
		for {
			s, err := m.Read(ctx)
			switch {
			case ctx.Err() != nil || m.replay && errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(Sample{}, err)
				return
			case !yield(s, nil):
				return
			}
			if m.replay {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}

// Close lets go of what the system gave, and ends powermetrics.
func (m *Machine) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var err error
	if m.pm != nil {
		err = m.pm.close()
	}
	if m.src != nil {
		err = errors.Join(err, m.src.close())
	}
	return err
}

// Read opens this machine, takes one sample and closes it. It blocks for about
// 100 ms; a program that reads again keeps a [Machine]. Power may need longer than
// that: rails are published every 2 s on some systems.
func Read(ctx context.Context) (Sample, error) {
	m, err := Open(ctx, Options{})
	if err != nil {
		return Sample{}, err
	}
	s, err := m.Read(ctx)
	return s, errors.Join(err, m.Close())
}

// Watch opens this machine and takes a sample every so often, until ctx is
// done.
func Watch(ctx context.Context, every time.Duration) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		m, err := Open(ctx, Options{})
		if err != nil {
			yield(Sample{}, err)
			return
		}
		defer m.Close()
		m.Watch(ctx, every)(yield)
	}
}
