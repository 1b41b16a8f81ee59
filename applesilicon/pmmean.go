package applesilicon

// pmMean is the mean of documents, each as long as it lasted.
type pmMean struct {
	cpu, gpu, ane, pkg, gpuActive, gpuMHz weighted
	clusters                              []*pmClusterMean
	last                                  pmSample
}

// weighted is the mean of readings, or the last reason why there is none.
type weighted struct {
	sum, weight float64
	last        Reading[float64]
}

func (w *weighted) add(r Reading[float64], weight float64) {
	if r.OK {
		w.sum, w.weight = w.sum+r.Value*weight, w.weight+weight
	}
	if r.OK || w.weight == 0 {
		w.last = r
	}
}

func (w *weighted) reading() Reading[float64] {
	if w.weight == 0 {
		return w.last
	}
	return read(w.sum/w.weight, w.last.Source)
}

type pmClusterMean struct {
	name             string
	active, realised weighted
	cores            []*pmCoreMean
}

type pmCoreMean struct {
	name   string
	active weighted
}

func (m *pmMean) add(s pmSample) {
	long := s.elapsed.Seconds()
	m.last = s
	for w, r := range map[*weighted]Reading[float64]{&m.cpu: s.cpu, &m.gpu: s.gpu, &m.ane: s.ane, &m.pkg: s.pkg, &m.gpuActive: s.gpuActive} {
		w.add(r, long)
	}
	m.gpuMHz.add(s.gpuMHz, activeTime(long, s.gpuActive))
	for i, c := range s.clusters {
		if i == len(m.clusters) || m.clusters[i].name != c.Name { // they are always the same
			m.clusters = append(m.clusters[:i], &pmClusterMean{name: c.Name})
		}
		of := m.clusters[i]
		of.active.add(c.ActivePercent, long)
		of.realised.add(c.RealisedMegahertz, activeTime(long, c.ActivePercent))
		for j, core := range c.Cores {
			if j == len(of.cores) || of.cores[j].name != core.Name {
				of.cores = append(of.cores[:j], &pmCoreMean{name: core.Name})
			}
			of.cores[j].active.add(core.ActivePercent, long)
		}
	}
}

// activeTime is how long a frequency was had. One of a part that was hardly
// active counts a little, so that it is shown if there is no other.
func activeTime(long float64, active Reading[float64]) float64 {
	if !active.OK {
		return long
	}
	return long * max(active.Value/100, 1e-9)
}

func (m *pmMean) sample() pmSample {
	s := m.last // heat: the newest
	s.cpu, s.gpu, s.ane, s.pkg = m.cpu.reading(), m.gpu.reading(), m.ane.reading(), m.pkg.reading()
	s.gpuActive, s.gpuMHz = m.gpuActive.reading(), m.gpuMHz.reading()
	s.clusters = nil
	for _, c := range m.clusters {
		out := Cluster{Name: c.name, ActivePercent: c.active.reading(), FrequencyMegahertz: pmAsked, RealisedMegahertz: c.realised.reading()}
		for _, core := range c.cores {
			out.Cores = append(out.Cores, Core{core.name, core.active.reading(), pmAsked})
		}
		s.clusters = append(s.clusters, out)
	}
	return s
}
