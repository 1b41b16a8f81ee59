package applesilicon

import (
	"fmt"
	"regexp"
)

// The channels of states.
const (
	coreGroup    = "CPU Stats/CPU Core Performance States"
	complexGroup = "CPU Stats/CPU Complex Performance States"
	gpuGroup     = "GPU Stats/GPU Performance States"
	aneGroup     = "ANE/IOP State"
)

// Names of cores: DIE_0_PCPU1_CPU2 and MCPU0_3 name their cluster; ECPU3 names
// its sort of cluster only.
var (
	inCluster = regexp.MustCompile(`^((?:DIE_\d+_)?[A-Z]+\d*)_(?:CPU)?(\d+)$`)
	inSort    = regexp.MustCompile(`^((?:DIE_\d+_)?[A-Z]+CPU)(\d+)$`)
	sortOf    = regexp.MustCompile(`^(?:DIE_\d+_)?([A-Z]+)`)

	// complexName is a complex that has its clock measured: PCPM is that of
	// PCPU, whose own channel holds what was asked for, like its cores'.
	complexName = regexp.MustCompile(`^(DIE_\d+_)?[A-Z]CPM\d*$`)
)

// clusterOf is the cluster that a core belongs to, under its own name if we do
// not know how it is formed.
func clusterOf(core string) string {
	for _, form := range []*regexp.Regexp{inCluster, inSort} {
		if m := form.FindStringSubmatch(core); m != nil {
			return m[1]
		}
	}
	return core
}

// tier is the sort of a cluster, "PCPU" for "DIE_1_PCPU0".
func tier(cluster string) string {
	if m := sortOf.FindStringSubmatch(cluster); m != nil {
		return m[1]
	}
	return cluster
}

// idle reports whether a state is one of doing nothing. DOWN is switched off
// for now, not absent.
func idle(state string) bool { return state == "IDLE" || state == "DOWN" || state == "OFF" }

// speeds is one channel of states and the frequency of each; 0 for those of
// doing nothing.
type speeds struct {
	channel int
	name    string
	states  []string
	active  []bool
	mhz     []float64 // nil: no table fits; of GPUs it may end before the states do
	before  []int64
	begun   bool
	total   float64 // ticks in all states at the last step
}

// step is the share of time that was active since the step before, and the
// mean frequency meanwhile. beyond names a state that held time and is in no
// table. A sample in which a state has no value (INT64_MIN or -1) is left out.
func (s *speeds) step(now counter) (active, mhz float64, beyond, reason string) {
	if now.Gone || len(now.States) != len(s.active) {
		s.begun = false
		return 0, 0, "", noChannel
	}
	for _, v := range now.States {
		if v < 0 {
			return 0, 0, "", noValue
		}
	}
	begun := s.begun
	s.begun = true
	var total, busy, weighted float64
	for i, v := range now.States {
		d := float64(v - s.before[i])
		s.before[i] = v
		if d < 0 {
			begun = false // set back
			continue
		}
		total += d
		switch {
		case !s.active[i]:
		case i < len(s.mhz):
			busy += d
			weighted += d * s.mhz[i]
		default:
			busy += d
			if d > 0 && beyond == "" {
				beyond = s.states[i]
			}
		}
	}
	s.total = total
	switch {
	case !begun:
		return 0, 0, "", warming
	case total == 0:
		return 0, 0, "", "no time has passed in this channel"
	case busy > 0:
		mhz = weighted / busy
	}
	return busy / total, mhz, beyond, ""
}

// readings are the percentage and the frequency of a step.
func (s *speeds) readings(source string, now counter) (percent, megahertz Reading[float64]) {
	active, mhz, beyond, reason := s.step(now)
	switch {
	case reason != "":
		return lacking[float64](source, reason), lacking[float64](source, reason)
	case s.mhz == nil:
		return read(100*active, source), lacking[float64]("IORegistry pmgr", fmt.Sprintf("no one table of %d frequencies", activeStates(s.active)))
	case beyond != "":
		return read(100*active, source), lacking[float64]("IORegistry pmgr", fmt.Sprintf("%s held time, the table has %d", beyond, activeStates(s.active[:len(s.mhz)])))
	case active == 0:
		return read(0.0, source), lacking[float64](source, "idle: no frequency")
	}
	return read(100*active, source), read(mhz, source)
}

// activeStates is how many states are not of doing nothing.
func activeStates(active []bool) int {
	n := 0
	for _, a := range active {
		if a {
			n++
		}
	}
	return n
}

func newSpeeds(i int, c channel, tables dvfs) *speeds {
	s := &speeds{channel: i, name: c.Name, states: c.States, active: make([]bool, len(c.States)), before: make([]int64, len(c.States))}
	for j, state := range c.States {
		s.active[j] = !idle(state)
	}
	table := tables.of(clusterOf(c.Name), activeStates(s.active), c.Group == "GPU Stats")
	for j := 0; j < len(s.active) && len(table) > 0; j++ {
		f := 0.0
		if s.active[j] {
			f, table = table[0], table[1:]
		}
		s.mhz = append(s.mhz, f)
	}
	return s
}

// counter is what channel i holds, or that it is gone.
func (f *frame) counter(i int) counter {
	if i < 0 || i >= len(f.Counters) {
		return counter{Gone: true}
	}
	return f.Counters[i]
}
