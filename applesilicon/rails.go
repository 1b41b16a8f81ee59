package applesilicon

import (
	"cmp"
	"slices"
	"time"
)

const energySource = "IOReport Energy Model"

// railSet is all meters of a machine.
type railSet struct {
	of        [rails][]*meter
	all       []*meter // by channel; nil for others
	absent    string   // why there are none
	busySince uint64
}

func newRails(f *facts) *railSet {
	r := &railSet{all: make([]*meter, len(f.Channels)), absent: cmp.Or(f.untimed(), f.Missing["energy"])}
	if f.untimed() != "" {
		return r
	}
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

// still reports whether no meter of a rail has moved for 10 s of a busy
// processor. A rail that does not exist is not still.
func (r *railSet) still(k rail, now uint64) bool {
	for _, m := range r.of[k] {
		if m.broken != "" || now-max(m.lastMoved, r.busySince) < silent {
			return false
		}
	}
	return len(r.of[k]) > 0
}

// alive reports whether one meter of a rail has moved within 10 s.
func (r *railSet) alive(k rail, now uint64) bool {
	return slices.ContainsFunc(r.of[k], func(m *meter) bool { return m.broken == "" && m.begun && now-m.lastMoved < silent })
}

// gatedRails says of each rail why it is held back, if it is. The power
// manager's rails are frozen for ordinary users on some systems, together or
// the CPU's alone; the GPU's own driver publishes in any case.
func (r *railSet) gatedRails(now uint64) (why [rails]string) {
	frozen := true
	for _, k := range []rail{cpuRail, aneRail, dramRail} {
		frozen = frozen && (len(r.of[k]) == 0 || r.still(k, now))
	}
	if r.still(cpuRail, now) {
		why[cpuRail] = gated
		if !frozen {
			why[cpuRail] = standing
		}
	}
	if frozen {
		why[aneRail], why[dramRail] = gated, gated
	}
	return why
}

// judge gives power and energy of each rail. A rail that says 0 is believed
// only if something else agrees: a frozen counter looks like 0 W.
//
// cpuBusy and gpuBusy are active shares, from 0 to 1; negative is unknown.
func (r *railSet) judge(s *Sample, now uint64, cpuBusy, gpuBusy float64) {
	if cpuBusy >= 0 && cpuBusy <= 0.01 { // idle: a counter that stands still proves nothing
		r.busySince = now
	}
	var held [rails]string
	if cpuBusy >= 0 {
		held = r.gatedRails(now)
	}
	moved := uint64(0) // when one of the power manager's rails last did
	for _, k := range []rail{cpuRail, aneRail, dramRail} {
		for _, m := range r.of[k] {
			moved = max(moved, m.movedAt)
		}
	}
	var watts, joules [rails]Reading[float64]
	for k := cpuRail; k < rails; k++ {
		if len(r.of[k]) == 0 {
			watts[k] = lacking[float64](energySource, cmp.Or(r.absent, noRail))
			joules[k] = watts[k]
			continue
		}
		sum, from, why := r.sum(k, now)
		switch {
		case why != "" || sum > 0:
		case k == cpuRail: // a processor that runs this program uses something
			why = doubtful
		case k == gpuRail && (gpuBusy < 0 || gpuBusy > 0.01):
			why = doubtful
		case k != gpuRail && moved <= from:
			why = doubtful
		}
		if held[k] != "" {
			why = held[k]
			for _, m := range r.of[k] {
				m.held = true
			}
		}
		watts[k], joules[k] = r.readings(k, sum, why)
	}
	p, e := &s.Power, &s.Energy
	p.CPUWatts, p.GPUWatts, p.ANEWatts, p.DRAMWatts = watts[cpuRail], watts[gpuRail], watts[aneRail], watts[dramRail]
	e.CPUJoules, e.GPUJoules, e.ANEJoules, e.DRAMJoules = joules[cpuRail], joules[gpuRail], joules[aneRail], joules[dramRail]
	p.PackageWatts, e.PackageJoules = r.packageOf(watts[:]), r.packageOf(joules[:])
	if p.PackageWatts.OK && p.PackageWatts.Value > mostWatts {
		p.PackageWatts = lacking[float64](energySource, absurd)
	}
	for _, m := range r.of[cpuRail] { // a die that rests covers no time
		e.Covered = max(e.Covered, time.Duration(m.covered))
	}
}

// sum is the power of a rail's meters, since the youngest of their windows
// began, or why it is not known. A die that is silent beside one that is not
// rests: it uses nothing.
func (r *railSet) sum(k rail, now uint64) (watts float64, from uint64, why string) {
	for _, m := range r.of[k] {
		switch {
		case m.reason == stale && r.alive(k, now):
		case !m.ok:
			why = m.reason
		default:
			watts += m.watts
			from = max(from, m.from)
		}
	}
	if why == "" && watts > mostWatts {
		why = absurd
	}
	return watts, from, why
}

// readings are the power and the energy of a rail. What was counted before a
// reading was lost for a moment stands.
func (r *railSet) readings(k rail, sum float64, why string) (watts, joules Reading[float64]) {
	used, broken := 0.0, false
	for _, m := range r.of[k] {
		used += m.joules
		broken = broken || m.broken != ""
	}
	watts, joules = read(sum, energySource), read(used, energySource)
	if why == "" {
		return watts, joules
	}
	watts = lacking[float64](energySource, why)
	if used == 0 || broken || why == gated || why == standing || why == stale {
		joules = watts
	}
	return watts, joules
}

// packageOf is CPU, GPU and ANE together, if all are known. Some chips have no
// rail of the ANE (M1, M2 Pro): the source says so.
func (r *railSet) packageOf(of []Reading[float64]) Reading[float64] {
	total, source := 0.0, energySource
	for _, k := range []rail{cpuRail, gpuRail, aneRail} {
		switch {
		case of[k].OK:
			total += of[k].Value
		case k == aneRail && len(r.of[k]) == 0:
			source += ", no ANE rail"
		default:
			return lacking[float64](energySource, [...]string{cpuRail: "CPU: ", gpuRail: "GPU: ", aneRail: "ANE: "}[k]+of[k].Reason)
		}
	}
	return read(total, source)
}
