package applesilicon

import (
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

// mostWatts is more than the power supply of any Mac gives: what is above it
// was not measured.
const mostWatts = 1e4

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
	held      bool   // it stood still for so long that its next span is not believed
	moves     int    // samples in which it moved one after the other, as far as that matters
	watts     float64
	ok        bool
	reason    string
	from      uint64 // the window of watts began here
	joules    float64
	covered   uint64 // the time that joules were measured in
	lastMoved uint64 // our time when the value last moved or the meter began
}

type mark struct {
	value int64
	at    uint64
}

// step takes the counter as read at now. A counter of energy is never
// negative: IOReport fills in INT64_MIN where there is no value, and what is
// known stays as it was.
//
// Source: kIOReportInvalidIntValue of xnu's IOReportTypes.h.
func (m *meter) step(value int64, published, now uint64) {
	switch {
	case m.broken != "":
		m.reason = m.broken
		return
	case value < 0:
		m.ok, m.reason = false, noValue
		return
	}
	if m.ownClock || published == 0 || !m.begun && published > now+ahead {
		m.ownClock, published = true, now
	}
	switch {
	case !m.begun:
		m.begun = true
		m.begin(mark{value, published}, now, warming)
		return
	case value < m.last.value:
		if published > now+ahead {
			m.ownClock, published = true, now
		}
		m.begin(mark{value, published}, now, wasReset)
		return
	case !m.ownClock && (published > now+ahead || published < m.last.at || published == m.last.at && value != m.last.value):
		m.ownClock = true // for good
		if !m.held {
			m.count(mark{value, now}, m.seen)
		}
		m.begin(mark{value, now}, now, warming)
		return
	case m.held && value != m.last.value:
		m.begin(mark{value, published}, now, thawed)
		return
	case m.ownClock:
		m.stepOwn(value, now)
	case published != m.last.at:
		m.stepPublished(mark{value, published}, now)
	}
	if now-m.seen >= silent {
		m.ok, m.reason, m.held = false, stale, true
	}
}

func (m *meter) stepPublished(p mark, now uint64) {
	if p.value != m.last.value {
		if !m.count(p, m.movedAt) {
			m.begin(p, now, absurd)
			return
		}
		m.movedAt, m.lastMoved = p.at, now
	}
	m.last, m.seen = p, now
	if p.at-m.base.at < tail {
		return
	}
	m.measure(p, m.base)
	m.base = p
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
	p := mark{value, now}
	if !m.count(p, m.movedAt) {
		m.begin(p, now, absurd)
		return
	}
	m.movedAt, m.lastMoved, m.seen = now, now, now
	if m.moves < 5 {
		if m.moves++; span > uint64(1250*time.Millisecond) {
			m.moves = 0
		}
	}
	m.ok, m.reason = false, unmoved
	if m.moves == 5 && span >= tail {
		m.measure(p, m.last)
	}
	m.last, m.base = p, p
}

func (m *meter) begin(p mark, now uint64, reason string) {
	m.base, m.last, m.seen, m.lastMoved, m.movedAt = p, p, now, now, p.at
	m.ok, m.reason, m.held = false, reason, false
}

// measure takes the power between two marks.
func (m *meter) measure(p, from mark) {
	m.watts = float64(p.value-from.value) * m.unit / (float64(p.at-from.at) / 1e9)
	m.ok, m.reason, m.from = true, "", from.at
	if m.watts > mostWatts {
		m.ok, m.reason = false, absurd
	}
}

// count adds what was used since the value last moved, and the time that it
// took. It counts nothing and reports false if no Mac can use so much.
func (m *meter) count(p mark, since uint64) bool {
	used, span := float64(p.value-m.last.value)*m.unit, uint64(0)
	if p.at > since {
		span = p.at - since
	}
	if used > mostWatts*max(float64(span)/1e9, 1) {
		return false
	}
	m.joules += used
	m.covered += span
	return true
}
