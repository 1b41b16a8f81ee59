package applesilicon

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// rail is what an energy counter measures.
type rail int

const (
	otherRail rail = iota // a part of another, or nothing we show
	cpuRail
	gpuRail
	aneRail
	dramRail
	rails
)

// Whole names: a prefix or a suffix would count clusters and cores twice.
var (
	cpuName  = regexp.MustCompile(`^(DIE_\d+_)?CPU Energy$`)
	gpuPart  = regexp.MustCompile(`^(DIE_\d+_)?GPU\d*(_\d+)?$`)
	aneName  = regexp.MustCompile(`^(DIE_\d+_)?ANE\d*(_\d+)?$`)
	dramName = regexp.MustCompile(`^(DIE_\d+_)?DRAM\d*(_\d+)?$`)
)

// railOf tells the rail of a channel of the group "Energy Model". wholeGPU says
// that the group has a "GPU Energy", of which GPU0 and the like are parts.
func railOf(name string, wholeGPU bool) rail {
	switch {
	case cpuName.MatchString(name):
		return cpuRail
	case name == "GPU Energy", !wholeGPU && gpuPart.MatchString(name):
		return gpuRail
	case aneName.MatchString(name):
		return aneRail
	case dramName.MatchString(name):
		return dramRail
	}
	return otherRail
}

// joulesPer is the worth of one count. A unit that we do not know is an error,
// never a guess.
func joulesPer(label string) (float64, error) {
	switch strings.TrimRight(label, " \x00") {
	case "mJ":
		return 1e-3, nil
	case "uJ", "µJ":
		return 1e-6, nil
	case "nJ":
		return 1e-9, nil
	case "pJ":
		return 1e-12, nil
	}
	return 0, fmt.Errorf("unknown unit %q", label)
}

// All times of a meter are nanoseconds of the machine's own clock.
const (
	tail   = uint64(50 * time.Millisecond) // a publication this close to the last is its tail
	ahead  = uint64(time.Second)           // a driver's time may be this far in the future
	silent = uint64(10 * time.Second)      // without publication for so long, a reading is dropped
)

// meter follows one energy counter. Drivers publish in batches of about 2 s,
// at times of their own: power is what came between two publications, divided
// by the time between these, not by ours.
type meter struct {
	unit   float64
	broken string // why this channel can never be read

	begun     bool
	base      mark // what power is measured from
	last      mark // the newest publication
	seen      uint64
	movedAt   uint64 // when the value last changed, by the meter's clock
	ownClock  bool   // the driver's times are no use: every value is as of our reading
	moves     int    // samples in which it moved one after the other, as far as that matters
	watts     float64
	ok        bool
	reason    string
	from      uint64 // the window of watts began here
	joules    float64
	covered   uint64
	lastMoved uint64 // our time when the value last moved or the meter began
}

type mark struct {
	value int64
	at    uint64
}

// step takes the counter as read at now.
func (m *meter) step(value int64, published, now uint64) {
	if m.broken != "" {
		m.reason = m.broken
		return
	}
	if m.ownClock || published == 0 {
		published = now
		m.ownClock = true
	}
	if !m.begun {
		if published > now+ahead {
			m.ownClock, published = true, now
		}
		m.begin(mark{value, published}, now, warming)
		m.begun = true
		return
	}
	switch {
	case value < m.last.value:
		if !m.ownClock && published > now+ahead {
			m.ownClock, published = true, now
		}
		m.begin(mark{value, published}, now, wasReset)
		return
	case !m.ownClock && (published > now+ahead || published < m.last.at || published == m.last.at && value != m.last.value):
		m.ownClock = true // for good
		m.count(value)
		m.covered += now - m.seen
		m.begin(mark{value, now}, now, warming)
		return
	case m.ownClock:
		m.stepOwn(value, now)
	case published != m.last.at:
		m.stepPublished(mark{value, published}, now)
	}
	if now-m.seen >= silent {
		m.ok, m.reason = false, stale
	}
}

func (m *meter) stepPublished(p mark, now uint64) {
	if p.value != m.last.value {
		m.movedAt, m.lastMoved = p.at, now
	}
	m.count(p.value)
	m.covered += p.at - m.last.at
	m.last, m.seen = p, now
	if p.at-m.base.at < tail {
		return
	}
	m.watts = float64(p.value-m.base.value) * m.unit / (float64(p.at-m.base.at) / 1e9)
	m.ok, m.reason, m.from, m.base = true, "", m.base.at, p
}

// stepOwn measures by our own clock. It can do so only for a counter that
// moves all the time: what is published in batches moved at a time unknown. A
// counter is taken as such after it has moved in five samples, so close
// together that batches would have shown as standing still.
func (m *meter) stepOwn(value int64, now uint64) {
	span := now - m.last.at
	if value == m.last.value {
		m.last.at, m.moves = now, 0
		m.ok, m.reason = false, unmoved
		return
	}
	m.count(value)
	m.covered += now - m.base.at // since it last moved
	m.movedAt, m.lastMoved, m.seen = now, now, now
	if m.moves < 5 {
		if m.moves++; span > uint64(1250*time.Millisecond) {
			m.moves = 0
		}
	}
	m.ok, m.reason = false, unmoved
	if m.moves == 5 && span >= tail {
		m.watts, m.ok, m.reason, m.from = float64(value-m.last.value)*m.unit/(float64(span)/1e9), true, "", m.last.at
	}
	m.last, m.base = mark{value, now}, mark{value, now}
}

func (m *meter) begin(p mark, now uint64, reason string) {
	m.base, m.last, m.seen, m.lastMoved, m.movedAt = p, p, now, now, p.at
	m.ok, m.reason = false, reason
}

func (m *meter) count(value int64) { m.joules += float64(value-m.last.value) * m.unit }

// zero reports whether the reading is 0 W.
func (m *meter) zero() bool { return m.ok && m.watts == 0 }

const energySource = "IOReport Energy Model"

// judge gives power and energy of each rail. A rail that says 0 is believed
// only if something else agrees: the rails of the power manager are frozen for
// ordinary users on some systems, and a frozen counter looks like 0 W.
//
// cpuBusy and gpuBusy are active shares, from 0 to 1; negative is unknown.
func (r *railSet) judge(s *Sample, now uint64, cpuBusy, gpuBusy float64) {
	if cpuBusy >= 0 && cpuBusy <= 0.01 { // idle: a counter that stands still proves nothing
		r.busySince = now
	}
	frozen := len(r.of[cpuRail]) > 0
	cpuMoved := uint64(0)
	for _, m := range r.of[cpuRail] {
		if m.broken != "" || now-max(m.lastMoved, r.busySince) < silent {
			frozen = false
		}
		cpuMoved = max(cpuMoved, m.movedAt)
	}
	reason := func(k rail, m *meter) string {
		switch {
		case m.broken != "":
			return m.broken
		case frozen && k != gpuRail && cpuBusy >= 0: // the GPU's own driver goes on
			return gated
		case !m.ok:
			return m.reason
		case !m.zero():
			return ""
		case k == cpuRail:
			return doubtful // a processor that runs this program uses something
		case k == gpuRail && (gpuBusy < 0 || gpuBusy > 0.01):
			return doubtful
		case k != gpuRail && cpuMoved <= m.from:
			return doubtful
		}
		return ""
	}
	var watts, joules [rails]Reading[float64]
	for k := cpuRail; k < rails; k++ {
		watts[k], joules[k] = read(0.0, energySource), read(0.0, energySource)
		if len(r.of[k]) == 0 {
			why := cmp.Or(r.absent, noRail)
			watts[k], joules[k] = lacking[float64](energySource, why), lacking[float64](energySource, why)
		}
		for _, m := range r.of[k] {
			watts[k].Value += m.watts
			joules[k].Value += m.joules
			why := reason(k, m)
			if why == "" {
				continue
			}
			watts[k] = lacking[float64](energySource, why)
			if m.joules == 0 || why == m.broken || why == gated || why == stale { // else what was counted stands
				joules[k] = lacking[float64](energySource, why)
			}
		}
		if !watts[k].OK {
			watts[k].Value = 0
		}
		if !joules[k].OK {
			joules[k].Value = 0
		}
	}
	p, e := &s.Power, &s.Energy
	p.CPUWatts, p.GPUWatts, p.ANEWatts, p.DRAMWatts = watts[cpuRail], watts[gpuRail], watts[aneRail], watts[dramRail]
	e.CPUJoules, e.GPUJoules, e.ANEJoules, e.DRAMJoules = joules[cpuRail], joules[gpuRail], joules[aneRail], joules[dramRail]
	p.PackageWatts, e.PackageJoules = sum(watts[:]), sum(joules[:])
	if len(r.of[cpuRail]) > 0 {
		e.Covered = time.Duration(r.of[cpuRail][0].covered)
	}
}

// sum is CPU, GPU and ANE together, if all are known.
func sum(of []Reading[float64]) Reading[float64] {
	total := 0.0
	for _, k := range []rail{cpuRail, gpuRail, aneRail} {
		if !of[k].OK {
			return lacking[float64](energySource, [...]string{cpuRail: "CPU: ", gpuRail: "GPU: ", aneRail: "ANE: "}[k]+of[k].Reason)
		}
		total += of[k].Value
	}
	return read(total, energySource)
}

// railSet is all meters of a machine.
type railSet struct {
	of        [rails][]*meter
	all       []*meter // by channel; nil for others
	absent    string
	busySince uint64
}

func newRails(f *facts) *railSet {
	r := &railSet{all: make([]*meter, len(f.Channels)), absent: f.Missing["energy"]}
	whole := false
	for _, c := range f.Channels {
		whole = whole || c.Group == "Energy Model" && c.Name == "GPU Energy"
	}
	for i, c := range f.Channels {
		if c.Group != "Energy Model" {
			continue
		}
		k := railOf(c.Name, whole)
		if k == otherRail {
			continue
		}
		m := &meter{}
		unit, err := joulesPer(c.Unit)
		if err != nil {
			m.broken = err.Error()
		}
		m.unit = unit
		r.all[i], r.of[k] = m, append(r.of[k], m)
	}
	return r
}
