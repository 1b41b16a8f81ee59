package applesilicon

import (
	"cmp"
	"slices"
	"strings"
)

// processorStates is all cores, by cluster.
type processorStates struct {
	names     []string // clusters, in the order of the channels
	cores     [][]*speeds
	complexes []*speeds // of each cluster, as measured; nil: none
	without   []string  // why a cluster has none
	count     int
}

func newProcessorStates(f *facts, tables dvfs) processorStates {
	var p processorStates
	measured := map[string]*speeds{}
	for i, c := range f.Channels {
		switch c.Group + "/" + c.Subgroup {
		case complexGroup:
			if complexName.MatchString(c.Name) {
				measured[c.Name] = newSpeeds(i, c, tables)
			}
		case coreGroup:
			cluster := clusterOf(c.Name)
			at := slices.Index(p.names, cluster)
			if at < 0 {
				at = len(p.names)
				p.names, p.cores = append(p.names, cluster), append(p.cores, nil)
			}
			p.cores[at] = append(p.cores[at], newSpeeds(i, c, tables))
			p.count++
		}
	}
	for _, name := range p.names {
		p.complexes = append(p.complexes, measured[complexOf(name)])
		p.without = append(p.without, cmp.Or(f.Missing["complex"], "no channel "+complexOf(name)))
	}
	return p
}

// complexOf is the channel that has a cluster's clock measured: "PCPM1" for
// "PCPU1".
func complexOf(cluster string) string {
	i := strings.LastIndex(cluster, "CPU")
	if i < 0 {
		return ""
	}
	return cluster[:i] + "CPM" + cluster[i+len("CPU"):]
}

const (
	coreSource    = "IOReport CPU Core Performance States"
	askedSource   = coreSource + ", as requested"
	complexSource = "IOReport CPU Complex Performance States"
)

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
		for _, s := range p.cores[i] {
			core := Core{Name: s.name}
			core.ActivePercent, core.FrequencyMegahertz = s.readings(coreSource, now.counter(s.channel))
			if core.FrequencyMegahertz.OK {
				core.FrequencyMegahertz.Source = askedSource
			}
			all = append(all, core)
			if core.ActivePercent.OK {
				sum, known = sum+core.ActivePercent.Value/100, known+1
			}
		}
		c := clusterFrom(name, all[first:len(all):len(all)])
		if s := p.complexes[i]; s != nil {
			_, c.RealisedMegahertz = s.readings(complexSource, now.counter(s.channel))
		} else {
			c.RealisedMegahertz = lacking[float64](complexSource, p.without[i])
		}
		clusters = append(clusters, c)
	}
	if known == 0 {
		return read(clusters, coreSource), -1
	}
	return read(clusters, coreSource), sum / float64(known)
}

// clusterFrom is the mean of cores. That of their frequency needs all of those
// that were active.
func clusterFrom(name string, cores []Core) Cluster {
	c := Cluster{Name: name, Cores: cores}
	busy, weighted, n, why := 0.0, 0.0, 0, noChannel
	var unknown Reading[float64] // a frequency that is not known of an active core
	for _, core := range cores {
		if !core.ActivePercent.OK {
			why = core.ActivePercent.Reason
			continue
		}
		n++
		busy += core.ActivePercent.Value
		switch {
		case core.FrequencyMegahertz.OK:
			weighted += core.ActivePercent.Value * core.FrequencyMegahertz.Value
		case core.ActivePercent.Value > 0:
			unknown = core.FrequencyMegahertz
		}
	}
	switch {
	case n == 0:
		c.ActivePercent, c.FrequencyMegahertz = lacking[float64](coreSource, why), lacking[float64](coreSource, why)
		return c
	case unknown.Reason != "":
		c.FrequencyMegahertz = unknown
	case busy == 0:
		c.FrequencyMegahertz = lacking[float64](coreSource, "idle: no frequency")
	default:
		c.FrequencyMegahertz = read(weighted/busy, askedSource)
	}
	c.ActivePercent = read(busy/float64(n), coreSource)
	return c
}
