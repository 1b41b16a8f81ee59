package applesilicon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// powermetricsCommand runs it once a second, never asking for a password. A
// user cannot kill what sudo has started, so it is run a minute at a time: if
// this program is killed, it ends by itself.
func powermetricsCommand(ctx context.Context) *exec.Cmd {
	return exec.CommandContext(ctx, "sudo", "-n", "powermetrics",
		"--samplers", "cpu_power,gpu_power,ane_power,thermal", "-f", "plist", "-i", "1000", "-n", "60")
}

// powermetrics is a child that reads as root. If it fails, it is started again
// 3 times at most.
type powermetrics struct {
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	mean   pmMean   // of the documents since the sample before
	last   pmSample // of those before
	fresh  bool     // mean has a document
	at     time.Time
	reason string
	joules float64
	span   time.Duration
	energy bool // the package's energy is counted here, to the end
}

const pmTries = 4

func startPowermetrics(command func(context.Context) *exec.Cmd) *powermetrics {
	ctx, cancel := context.WithCancel(context.Background())
	p := &powermetrics{stop: cancel, done: make(chan struct{}), reason: warming}
	go func() {
		defer close(p.done)
		for failed := 0; failed < pmTries; {
			documents, err := p.run(ctx, command(ctx))
			if ctx.Err() != nil {
				return
			}
			if err == nil && documents > 0 { // its minute is over
				failed = 0
				continue
			}
			failed++
			p.fail(cmp.Or(err, errors.New("it ended")))
		}
	}()
	return p
}

// run reads one child to its end, and says how many documents it wrote. When
// ctx is done, it closes the pipe: the next write ends a child that cannot be
// killed.
func (p *powermetrics) run(ctx context.Context, cmd *exec.Cmd) (n int, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer out.Close()
	var said headWriter
	cmd.Stdout, cmd.Stderr = in, &said
	cmd.WaitDelay = time.Second
	err = cmd.Start()
	in.Close()
	if err != nil {
		return 0, err
	}
	defer context.AfterFunc(ctx, func() { out.Close() })()
	var bad error
	for b, err := range documents(out) {
		if err != nil {
			bad = err
			break
		}
		s, err := decodePowermetrics(b)
		if err != nil {
			p.fail(err)
			continue
		}
		n++
		p.take(s)
	}
	if bad != nil {
		out.Close()
		cmd.Process.Kill()
	}
	err = cmd.Wait()
	words := strings.Join(strings.Fields(said.String()), " ")
	switch {
	case bad != nil:
		return n, bad
	case err != nil && words != "":
		return n, errors.New(words)
	}
	return n, err
}

// headWriter keeps the first words that a child says.
type headWriter struct{ bytes.Buffer }

func (w *headWriter) Write(b []byte) (int, error) {
	w.Buffer.Write(b[:min(len(b), max(0, 300-w.Len()))])
	return len(b), nil
}

func (p *powermetrics) take(s pmSample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fresh {
		p.mean, p.fresh = pmMean{}, true
	}
	p.mean.add(s)
	p.at, p.reason = time.Now(), ""
	if s.pkg.OK {
		p.joules += s.pkg.Value * s.elapsed.Seconds()
		p.span += s.elapsed
	}
}

func (p *powermetrics) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reason = "powermetrics: " + strings.TrimPrefix(err.Error(), "powermetrics: ")
}

// fill puts what powermetrics knows where the sample has nothing: the mean of
// its documents since the sample before, or the mean before if there were none.
func (p *powermetrics) fill(s *Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh {
		p.last, p.fresh = p.mean.sample(), false
	}
	why := p.reason
	if why == "" && time.Since(p.at) > time.Duration(silent) {
		why = "powermetrics: silent for 10 s"
	}
	one := func(have *Reading[float64], got Reading[float64]) {
		switch {
		case have.OK:
		case why != "":
			have.Reason = cmp.Or(have.Reason, "not read") + "; " + why
		case got.OK:
			*have = got
		}
	}
	w := &s.Power
	if !w.CPUWatts.OK || !w.GPUWatts.OK || !w.ANEWatts.OK {
		one(&w.CPUWatts, p.last.cpu)
		one(&w.GPUWatts, p.last.gpu)
		one(&w.ANEWatts, p.last.ane)
		one(&w.PackageWatts, p.last.pkg)
		p.energy = p.energy || p.span > 0 && !s.Energy.PackageJoules.OK
	}
	if p.energy { // to the end: two counts in turn would run backwards
		s.Energy.PackageJoules, s.Energy.Covered = read(p.joules, pmSource), p.span
	}
	if why != "" {
		return
	}
	if !s.Thermal.OK && p.last.thermal.OK {
		s.Thermal, s.ThermalLevel = p.last.thermal, p.last.level
	}
	if !s.CPU.Clusters.OK && p.last.clusters != nil {
		s.CPU.Clusters = read(p.last.clusters, pmSource)
	}
	one(&s.GPU.ActivePercent, p.last.gpuActive)
	one(&s.GPU.FrequencyMegahertz, p.last.gpuMHz)
}

// close ends the child, or leaves it alone after 2.5 s: what cannot be killed
// ends at its next write, within a minute at the latest.
func (p *powermetrics) close() error {
	p.stop()
	late := time.NewTimer(2500 * time.Millisecond)
	defer late.Stop()
	select {
	case <-p.done:
		return nil
	case <-late.C:
		return errors.New("applesilicon: powermetrics has not ended yet: it ends by itself within a minute")
	}
}
