package applesilicon

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// maxDocument is more than a hundred times what powermetrics writes.
const maxDocument = 8 << 20

// documents splits the output of powermetrics, property lists with a NUL after
// each. A part that does not end is left out; one larger than 8 MiB is an
// error. The bytes are those of the loop's turn only.
func documents(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewScanner(r)
		in.Buffer(make([]byte, 0, 64<<10), maxDocument)
		in.Split(func(b []byte, end bool) (int, []byte, error) {
			if i := bytes.IndexByte(b, 0); i >= 0 {
				return i + 1, b[:i], nil
			}
			if end && len(b) > 0 {
				return len(b), b, nil
			}
			return 0, nil, nil
		})
		for in.Scan() {
			b := in.Bytes()
			if i := bytes.LastIndex(b, []byte("<?xml")); i >= 0 {
				b = b[i:] // what stands before was cut off
			}
			if !bytes.Contains(b, []byte("</plist>")) {
				continue
			}
			if !yield(b, nil) {
				return
			}
		}
		if err := in.Err(); err != nil {
			yield(nil, fmt.Errorf("powermetrics: %w", err))
		}
	}
}

// pmSample is what one document tells.
type pmSample struct {
	elapsed            time.Duration
	cpu, gpu, ane, pkg Reading[float64] // watts
	thermal            Reading[ThermalState]
	clusters           []Cluster
	gpuActive, gpuMHz  Reading[float64]
}

const pmSource = "powermetrics"

// decodePowermetrics reads one document. Keys and number types differ by
// version of macOS; what is missing carries a reason.
func decodePowermetrics(b []byte) (pmSample, error) {
	v, err := parsePlist(b)
	if err != nil {
		return pmSample{}, fmt.Errorf("powermetrics: %w", err)
	}
	top, ok := v.(map[string]any)
	if !ok {
		return pmSample{}, errors.New("powermetrics: the document is no dictionary")
	}
	var s pmSample
	ns, _ := number(top, "elapsed_ns")
	if ns <= 0 || ns > 1e15 {
		return pmSample{}, fmt.Errorf("powermetrics: elapsed_ns is %v", top["elapsed_ns"])
	}
	s.elapsed = time.Duration(ns)
	processor, _ := top["processor"].(map[string]any)
	gpu, _ := top["gpu"].(map[string]any)

	watts := func(in []map[string]any, keys ...string) Reading[float64] {
		for _, key := range keys {
			for _, d := range in {
				v, ok := number(d, key)
				if !ok || v < 0 {
					continue
				}
				if strings.HasSuffix(key, "_energy") { // millijoules
					return read(v/1e3/s.elapsed.Seconds(), pmSource+" "+key)
				}
				return read(v/1e3, pmSource+" "+key)
			}
		}
		return lacking[float64](pmSource, "no "+keys[0])
	}
	s.cpu = watts([]map[string]any{processor}, "cpu_power", "cpu_energy")
	s.gpu = watts([]map[string]any{processor, gpu}, "gpu_power", "gpu_energy")
	s.ane = watts([]map[string]any{processor}, "ane_power", "ane_energy")
	s.pkg = watts([]map[string]any{processor}, "combined_power", "package_energy")
	if s.cpu.OK && s.gpu.OK && s.ane.OK { // as everywhere: without DRAM
		s.pkg = read(s.cpu.Value+s.gpu.Value+s.ane.Value, pmSource)
	}
	if s.cpu.OK && s.cpu.Value == 0 { // a processor that runs this program uses something: betas of macOS 27
		s.cpu = lacking[float64](pmSource, doubtful)
		s.ane, s.pkg = s.cpu, s.cpu
	}

	s.thermal = pressureName(top["thermal_pressure"])
	list, _ := processor["clusters"].([]any)
	for _, v := range list {
		if d, ok := v.(map[string]any); ok {
			s.clusters = append(s.clusters, pmCluster(d))
		}
	}
	s.gpuActive, s.gpuMHz = pmActive(gpu), lacking[float64](pmSource, "no freq_hz")
	if hz, ok := number(gpu, "freq_hz"); ok && hz > 0 {
		if hz >= 1e5 {
			hz /= 1e6
		}
		s.gpuMHz = read(hz, pmSource+" gpu freq_hz") // megahertz, in spite of the name
	}
	return s, nil
}

func number(d map[string]any, key string) (float64, bool) {
	v, ok := d[key].(float64)
	return v, ok
}

// pmActive is the share of time that was neither idle nor switched off.
func pmActive(d map[string]any) Reading[float64] {
	resting, ok := number(d, "idle_ratio")
	if !ok {
		return lacking[float64](pmSource, "no idle_ratio")
	}
	down, _ := number(d, "down_ratio") // from M3 on
	return read(100*max(0, min(1, 1-resting-down)), pmSource)
}

func pmHertz(d map[string]any) Reading[float64] {
	hz, ok := number(d, "freq_hz")
	if !ok || hz <= 0 {
		return lacking[float64](pmSource, "no freq_hz")
	}
	return read(hz/1e6, pmSource)
}

// pmCluster reads a cluster. How busy it is tells the mean of its cores: the
// cluster's own ratio says when any of them was.
func pmCluster(d map[string]any) Cluster {
	name, _ := d["name"].(string)
	c := Cluster{Name: name, FrequencyMegahertz: pmHertz(d), ActivePercent: lacking[float64](pmSource, "no cores")}
	cores, _ := d["cpus"].([]any)
	sum, n := 0.0, 0.0
	for _, v := range cores {
		d, ok := v.(map[string]any)
		if !ok {
			continue
		}
		id, _ := number(d, "cpu")
		core := Core{Name: fmt.Sprintf("cpu%.0f", id), ActivePercent: pmActive(d), FrequencyMegahertz: pmHertz(d)}
		c.Cores = append(c.Cores, core)
		if core.ActivePercent.OK {
			sum, n = sum+core.ActivePercent.Value, n+1
		}
	}
	if n > 0 {
		c.ActivePercent = read(sum/n, pmSource+", mean of cores")
	}
	return c
}

func pressureName(v any) Reading[ThermalState] {
	name, ok := v.(string)
	if !ok {
		return lacking[ThermalState](pmSource, "no thermal_pressure")
	}
	switch name {
	case "Nominal":
		return read(ThermalNominal, pmSource)
	case "Light", "Moderate":
		return read(ThermalFair, pmSource)
	case "Heavy":
		return read(ThermalSerious, pmSource)
	case "Trapping", "Sleeping":
		return read(ThermalCritical, pmSource)
	}
	return lacking[ThermalState](pmSource, fmt.Sprintf("unknown pressure %q", clip(name)))
}

// powermetricsCommand runs it once a second, never asking for a password.
func powermetricsCommand(ctx context.Context) *exec.Cmd {
	return exec.CommandContext(ctx, "sudo", "-n", "powermetrics",
		"--samplers", "cpu_power,gpu_power,ane_power,thermal", "-f", "plist", "-i", "1000")
}

// powermetrics is a child that reads as root. It is begun anew 3 times at most.
type powermetrics struct {
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	last   pmSample
	at     time.Time
	reason string
	joules float64
	span   time.Duration
}

const pmTries = 4

func startPowermetrics(command func(context.Context) *exec.Cmd) *powermetrics {
	ctx, cancel := context.WithCancel(context.Background())
	p := &powermetrics{stop: cancel, done: make(chan struct{}), reason: warming}
	go func() {
		defer close(p.done)
		for range pmTries {
			err := p.run(command(ctx))
			if ctx.Err() != nil {
				return
			}
			p.fail(err)
		}
	}()
	return p
}

// run reads one child to its end.
func (p *powermetrics) run(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var said headWriter
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return err
	}
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
		p.take(s)
	}
	if bad != nil {
		cmd.Process.Kill()
	}
	err = cmd.Wait()
	words := strings.Join(strings.Fields(said.String()), " ")
	switch {
	case bad != nil:
		return bad
	case words != "":
		return errors.New(words)
	case err != nil:
		return err
	}
	return errors.New("it ended")
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
	p.last, p.at, p.reason = s, time.Now(), ""
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

// fill puts what powermetrics knows where the sample has nothing.
func (p *powermetrics) fill(s *Sample) {
	p.mu.Lock()
	defer p.mu.Unlock()
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
		if p.span > 0 && !s.Energy.PackageJoules.OK {
			one(&s.Energy.PackageJoules, read(p.joules, pmSource))
			s.Energy.Covered = p.span
		}
	}
	if why == "" && !s.Thermal.OK && p.last.thermal.OK {
		s.Thermal = p.last.thermal
	}
	if why == "" && !s.CPU.Clusters.OK && p.last.clusters != nil {
		s.CPU.Clusters = read(p.last.clusters, pmSource)
	}
	if why == "" {
		one(&s.GPU.ActivePercent, p.last.gpuActive)
		one(&s.GPU.FrequencyMegahertz, p.last.gpuMHz)
	}
}

func (p *powermetrics) close() error {
	p.stop()
	<-p.done
	return nil
}
