package applesilicon

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// integral is energy that no counter has: a power that is read now and then,
// times the time of the machine's clock, which stands still while it sleeps.
type integral struct {
	joules  float64
	covered time.Duration
	watts   float64
	at      uint64
	on      bool // there was a power at the step before
}

// blind is how far apart two powers may be read to say something of the time
// between them.
const blind = uint64(10 * time.Minute)

// step adds the time since the step before, if the power was read at both.
func (g *integral) step(w Reading[float64], at uint64) (Reading[float64], time.Duration) {
	if span := at - g.at; w.OK && g.on && at >= g.at && span <= blind {
		g.joules += (g.watts + w.Value) / 2 * float64(span) / 1e9
		g.covered += time.Duration(span)
	}
	g.watts, g.at, g.on = w.Value, at, w.OK
	const source = "SMC PSTR, integrated"
	if g.covered == 0 {
		return lacking[float64](source, cmp.Or(w.Reason, "needs a second sample")), 0
	}
	return read(g.joules, source), g.covered
}

// believed reports whether a sensor can be right. Some say 5 °C, or thousands.
func believed(celsius float64) bool { return celsius > 10 && celsius <= 150 }

// thermometer is the sensors of one part of the chip.
type thermometer struct {
	at     []int // in frame.Celsius
	source string
}

func newThermometer(f *facts, prefixes ...string) thermometer {
	t := thermometer{source: "SMC " + strings.Join(prefixes, "…, ") + "…"}
	for i, key := range f.Sensors {
		if len(key) >= 2 && slices.Contains(prefixes, key[:2]) {
			t.at = append(t.at, i)
		}
	}
	return t
}

// thermometers are the processor's and the GPU's. The keys Ts… are of cores
// from M5 on; before, they are of other places.
func thermometers(f *facts, chip string) (cpu, gpu thermometer) {
	if generation(chip) >= 5 {
		return newThermometer(f, "Tp", "Te", "Ts"), newThermometer(f, "Tg")
	}
	return newThermometer(f, "Tp", "Te"), newThermometer(f, "Tg")
}

// read is the mean of the sensors that can be right.
func (t thermometer) read(f *facts, now *frame) Reading[float64] {
	sum, n, odd := 0.0, 0, -1
	for _, i := range t.at {
		switch {
		case i >= len(now.Celsius):
		case believed(now.Celsius[i]):
			sum, n = sum+now.Celsius[i], n+1
		case now.Celsius[i] != 0:
			odd = i
		}
	}
	switch {
	case n > 0:
		return read(sum/float64(n), t.source)
	case odd >= 0:
		return lacking[float64](t.source, fmt.Sprintf("%s says %v °C", f.Sensors[odd], now.Celsius[odd]))
	}
	return lacking[float64](t.source, cmp.Or(now.Errors["celsius"], f.Missing["celsius"], f.Missing["smc"], "no such sensor"))
}

// generation is 5 for "Apple M5 Max", 0 for chips of other names.
func generation(chip string) int {
	digits, ok := strings.CutPrefix(chip, "Apple M")
	if !ok {
		return 0
	}
	n, _, _ := strings.Cut(digits, " ")
	g, _ := strconv.Atoi(n)
	return g
}

// fans are the turns a minute of each; 0 is a fan that stands still.
func fans(f *facts, now *frame) Reading[[]float64] {
	const source = "SMC F0Ac…"
	if len(now.Fans) == 0 {
		return lacking[[]float64](source, cmp.Or(now.Errors["fans"], f.Missing["fans"], f.why(now, "smc")))
	}
	for i, v := range now.Fans {
		if v < 0 || v > 20_000 {
			return lacking[[]float64](source, fmt.Sprintf("fan %d says %v turns a minute", i, v))
		}
	}
	return read(slices.Clone(now.Fans), source)
}

// wiredLimit is how much memory the GPU may have. 0 stands for the system's
// own choice, about three quarters, which only Metal tells.
func wiredLimit(now *frame) Reading[uint64] {
	const name = "iogpu.wired_limit_mb"
	v, err := sysctl(now.Sysctl).Number(name)
	switch {
	case err != nil:
		return lacking[uint64]("sysctl "+name, err.Error())
	case v == 0:
		return lacking[uint64]("sysctl "+name, "the system's own choice, which Metal tells (recommendedMaxWorkingSetSize)")
	case v > 1<<30:
		return lacking[uint64]("sysctl "+name, fmt.Sprintf("says %d", v))
	}
	return read(v<<20, "sysctl "+name)
}

const aneRunning = "Running"

// neural is the share of time that the neural engine's controller ran. It is
// not how busy the engine is.
func (d *decoder) neural(now *frame) Reading[float64] {
	const source = "IOReport ANE IOP State"
	if d.ane == nil {
		return lacking[float64](source, cmp.Or(d.f.Missing["ane"], noChannel))
	}
	r, _ := d.ane.readings(source, now.counter(d.ane.channel))
	return r
}

// watched is what the system tells of the program that is watched.
func watched(f *facts, now *frame) Process {
	p := Process{
		ID:             now.Process.ID,
		GPUSeconds:     lacking[float64]("IORegistry AGXDeviceUserClient AppUsage", f.why(now, "gpuTime")),
		FootprintBytes: lacking[uint64]("proc_pid_rusage", f.why(now, "footprint")),
	}
	if v := now.Process.GPUNanoseconds; v != nil {
		p.GPUSeconds = read(float64(*v)/1e9, p.GPUSeconds.Source)
	}
	if v := now.Process.Footprint; v != nil {
		p.FootprintBytes = read(*v, p.FootprintBytes.Source)
	}
	return p
}
