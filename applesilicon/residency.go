package applesilicon

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The channels of states.
const (
	coreGroup = "CPU Stats/CPU Core Performance States"
	gpuGroup  = "GPU Stats/GPU Performance States"
)

// Names of cores: DIE_0_PCPU1_CPU2 and MCPU0_3 name their cluster; ECPU3 names
// its sort of cluster only.
var (
	inCluster = regexp.MustCompile(`^((?:DIE_\d+_)?[A-Z]+\d*)_(?:CPU)?(\d+)$`)
	inSort    = regexp.MustCompile(`^((?:DIE_\d+_)?[A-Z]+CPU)(\d+)$`)
	sortOf    = regexp.MustCompile(`^(?:DIE_\d+_)?([A-Z]+)`)
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
	active  []bool
	mhz     []float64 // nil: no table fits
	before  []int64
	begun   bool
	total   float64 // ticks in all states at the last step
}

// step is the share of time that was active since the step before, and the
// mean frequency meanwhile.
func (s *speeds) step(now counter) (active, mhz float64, reason string) {
	if now.Gone || len(now.States) != len(s.active) {
		s.begun = false
		return 0, 0, noChannel
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
		if s.active[i] {
			busy += d
			if s.mhz != nil {
				weighted += d * s.mhz[i]
			}
		}
	}
	s.total = total
	switch {
	case !begun:
		return 0, 0, warming
	case total == 0:
		return 0, 0, "no time has passed in this channel"
	case busy > 0:
		mhz = weighted / busy
	}
	return busy / total, mhz, ""
}

// readings are the percentage and the frequency, from one source.
func (s *speeds) readings(source string, active, mhz float64, reason string) (percent, megahertz Reading[float64]) {
	switch {
	case reason != "":
		return lacking[float64](source, reason), lacking[float64](source, reason)
	case s.mhz == nil:
		return read(100*active, source), lacking[float64]("IORegistry pmgr", fmt.Sprintf("no one table of %d frequencies", s.steps()))
	case active == 0:
		return read(0.0, source), lacking[float64](source, "idle: no frequency")
	}
	return read(100*active, source), read(mhz, source)
}

func (s *speeds) steps() int {
	n := 0
	for _, a := range s.active {
		if a {
			n++
		}
	}
	return n
}

func newSpeeds(i int, c channel, tables dvfs) *speeds {
	s := &speeds{channel: i, name: c.Name, active: make([]bool, len(c.States)), before: make([]int64, len(c.States))}
	for j, state := range c.States {
		s.active[j] = !idle(state)
	}
	table := tables.of(clusterOf(c.Name), s.steps(), c.Group == "GPU Stats")
	if table == nil {
		return s
	}
	s.mhz = make([]float64, len(c.States))
	for j, k := 0, 0; j < len(s.mhz); j++ {
		if s.active[j] {
			s.mhz[j], k = table[k], k+1
		}
	}
	return s
}

// dvfs is the frequencies that the power manager can choose, in MHz, by key.
type dvfs map[string][]float64

func newDVFS(properties map[string][]byte) dvfs {
	out := dvfs{}
	for key, b := range properties {
		if !strings.HasPrefix(key, "voltage-states") {
			continue
		}
		if t, err := decodeTable(b); err == nil {
			out[key] = t
		}
	}
	for _, key := range accClusters(properties["acc-clusters"]) {
		if t, ok := out[key]; ok {
			out["acc-clusters "+key] = t
		}
	}
	return out
}

// accClusters lists the tables that an M5 names for its clusters: 8 bytes
// each, the first the table's number.
func accClusters(b []byte) []string {
	var out []string
	for ; len(b) >= 8; b = b[8:] {
		out = append(out, fmt.Sprintf("voltage-states%d-sram", b[0]))
	}
	return out
}

// decodeTable reads pairs of frequency and millivolts, 4 bytes each, little
// endian. The frequency is in Hz up to M3, where it may not fit 32 bits, and in
// kHz from M4 on; a table of periods or zeros is an error. A leading 0 is off.
func decodeTable(b []byte) ([]float64, error) {
	if len(b) == 0 || len(b)%8 != 0 {
		return nil, fmt.Errorf("%d bytes are no table of pairs", len(b))
	}
	var out []float64
	unit := 0.0
	for i := 0; i < len(b); i += 8 {
		raw := float64(binary.LittleEndian.Uint32(b[i:]))
		if raw == 0 && len(out) == 0 {
			continue
		}
		if unit == 0 {
			switch {
			case raw >= 1e8:
				unit = 1e6
			case raw >= 1e5:
				unit = 1e3
			default:
				return nil, fmt.Errorf("%v is no frequency", raw)
			}
		}
		mhz := raw / unit
		if n := len(out); n > 0 && mhz < out[n-1] && out[n-1] >= 4000 && unit == 1e6 {
			mhz += (1 << 32) / unit
		}
		if n := len(out); mhz < 100 || mhz > 10_000 || n > 0 && mhz < out[n-1] {
			return nil, fmt.Errorf("%v MHz does not fit into the table", mhz)
		}
		out = append(out, mhz)
	}
	if out == nil {
		return nil, fmt.Errorf("a table of zeros")
	}
	return out, nil
}

// of chooses a table with as many frequencies as there are states: the one
// that chips before M5 have for this sort of cluster, else the one of the
// power manager's list, else any; if these differ, none.
func (t dvfs) of(cluster string, steps int, gpu bool) []float64 {
	if steps == 0 {
		return nil
	}
	var known []string
	anyOther := func(key string) bool { return strings.HasSuffix(key, "-sram") && !strings.HasPrefix(key, "acc-") }
	listed := func(key string) bool { return strings.HasPrefix(key, "acc-") }
	switch {
	case gpu:
		known, anyOther = []string{"voltage-states9", "voltage-states9-sram"}, func(string) bool { return false }
		listed = anyOther
	case slices.ContainsFunc(t.keys(), listed): // the list is there instead of the fixed numbers
	case strings.HasPrefix(tier(cluster), "E"):
		known = []string{"voltage-states1-sram"}
	case strings.HasPrefix(tier(cluster), "P"):
		known = []string{"voltage-states5-sram", "voltage-states13-sram"}
	}
	for _, key := range known {
		if len(t[key]) == steps {
			return t[key]
		}
	}
	for _, among := range []func(string) bool{listed, anyOther} {
		var found []float64
		one := true
		for _, key := range t.keys() {
			if !among(key) || len(t[key]) != steps {
				continue
			}
			one = one && (found == nil || slices.Equal(found, t[key]))
			found = t[key]
		}
		if found != nil {
			if one {
				return found
			}
			return nil
		}
	}
	return nil
}

func (t dvfs) keys() []string {
	out := make([]string, 0, len(t))
	for k := range t {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// processorStates is all cores, by cluster.
type processorStates struct {
	names []string // clusters, in the order of the channels
	cores [][]*speeds
	count int
}

func newProcessorStates(f *facts, tables dvfs) processorStates {
	var p processorStates
	for i, c := range f.Channels {
		if c.Group+"/"+c.Subgroup != coreGroup {
			continue
		}
		cluster := clusterOf(c.Name)
		at := slices.Index(p.names, cluster)
		if at < 0 {
			at = len(p.names)
			p.names, p.cores = append(p.names, cluster), append(p.cores, nil)
		}
		p.cores[at] = append(p.cores[at], newSpeeds(i, c, tables))
		p.count++
	}
	return p
}

const coreSource = "IOReport CPU Core Performance States"

// step reads all cores and tells how busy they are together, from 0 to 1, or
// -1 if unknown.
func (p *processorStates) step(f *facts, now *frame) (Reading[[]Cluster], float64) {
	if len(p.names) == 0 {
		return lacking[[]Cluster](coreSource, cmp.Or(f.Missing["cores"], noChannel)), -1
	}
	clusters := make([]Cluster, 0, len(p.names))
	all := make([]Core, 0, p.count)
	sum, known := 0.0, 0
	for i, name := range p.names {
		first := len(all)
		c := Cluster{Name: name}
		busy, weighted, hz, n, why := 0.0, 0.0, true, 0, noChannel
		for _, s := range p.cores[i] {
			active, mhz, reason := s.step(now.counter(s.channel))
			core := Core{Name: s.name}
			core.ActivePercent, core.FrequencyMegahertz = s.readings(coreSource, active, mhz, reason)
			all = append(all, core)
			if reason != "" {
				why = reason
				continue
			}
			n++
			busy += active
			weighted += active * mhz
			hz = hz && s.mhz != nil
		}
		c.Cores = all[first:len(all):len(all)]
		sum, known = sum+busy, known+n
		switch {
		case n == 0:
			c.ActivePercent, c.FrequencyMegahertz = lacking[float64](coreSource, why), lacking[float64](coreSource, why)
		default:
			c.ActivePercent = read(100*busy/float64(n), coreSource)
			switch {
			case !hz:
				c.FrequencyMegahertz = c.Cores[0].FrequencyMegahertz
				c.FrequencyMegahertz.OK, c.FrequencyMegahertz.Value = false, 0
				c.FrequencyMegahertz.Reason = cmp.Or(c.FrequencyMegahertz.Reason, "not of all cores")
			case busy == 0:
				c.FrequencyMegahertz = lacking[float64](coreSource, "idle: no frequency")
			default:
				c.FrequencyMegahertz = read(weighted/busy, coreSource)
			}
		}
		clusters = append(clusters, c)
	}
	if known == 0 {
		return read(clusters, coreSource), -1
	}
	return read(clusters, coreSource), sum / float64(known)
}

// counter is what channel i holds, or that it is gone.
func (f *frame) counter(i int) counter {
	if i < 0 || i >= len(f.Counters) {
		return counter{Gone: true}
	}
	return f.Counters[i]
}
