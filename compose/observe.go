package compose

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/mlops-integration/mlops/compose/internal/proc"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// publish writes the stack file: where the services are that became ready.
func (sup *supervisor) publish() {
	sup.saving.Lock()
	defer sup.saving.Unlock()
	s := sup.stack
	sup.mu.Lock()
	endpoints := map[string]stackfile.Endpoint{}
	st := s.siteOf(maps.Clone(sup.ports), sup.light, io.Discard)
	for _, n := range sup.order {
		if u := sup.units[n]; u.published && u.endpoints != nil {
			maps.Copy(endpoints, u.endpoints(st))
		}
	}
	wanted := len(sup.units)
	sup.mu.Unlock()
	var err error
	if wanted == 0 || len(endpoints) == 0 {
		err = stackfile.Remove(s.home)
	} else {
		err = stackfile.Write(stackfile.Stack{
			Runtime: "process", Home: s.home, Endpoints: endpoints,
			DVCRemote: filepath.Join(s.home, "data", "dvc-remote"),
			DAGs:      filepath.Join(s.home, "data", "airflow", "dags"),
			Pythons:   pythons(s.home),
			ServeDir:  filepath.Join(s.home, "data", "serve"),
			Command:   s.command,
		})
	}
	if err != nil {
		sup.log.Error("stack file", "error", err)
	}
	sup.publishedAs = stampOf(stackfile.Path(s.home))
}

// pythons finds the interpreter of each environment that is there.
func pythons(home string) map[string]string {
	out := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(home, "venvs", "*", "bin", "python"))
	for _, p := range found {
		out[filepath.Base(filepath.Dir(filepath.Dir(p)))] = p
	}
	return out
}

// status is what the supervisor knows; with memory it also measures that.
func (sup *supervisor) status(memory bool) Status {
	sup.mu.Lock()
	st := Status{Runtime: "process", Home: sup.stack.home, Light: sup.light, Supervisor: SupervisorStatus{PID: os.Getpid(), Since: sup.since, Mended: slices.Clone(sup.repairs)}}
	where := sup.stack.siteOf(sup.ports, sup.light, io.Discard)
	var trees [][]proc.ID
	for _, v := range sup.stack.recipes(sup.light) {
		s := ServiceStatus{Name: v.name, Group: v.group, State: StateStopped, Ports: portsOf(v, sup.ports)}
		var tree []proc.ID
		if u := sup.units[v.name]; u != nil {
			s.State, s.Message, s.Restarts = u.phase, u.message, u.rec.Restarts
			s.PID, s.Since = u.rec.Main.PID, u.rec.Since
			s.URL = urlOf(v, where)
			tree = slices.Clone(u.rec.Seen)
		}
		st.Services = append(st.Services, s)
		trees = append(trees, tree)
	}
	sup.mu.Unlock()
	if memory {
		for i, tree := range trees {
			for _, p := range tree {
				st.Services[i].PSSBytes += proc.MemoryOf(p)
			}
		}
	}
	st.State = overall(st.Services)
	return st
}

// look records which processes belong to which service.
func (sup *supervisor) look() {
	t, err := proc.All()
	if err != nil {
		sup.log.Error("processes", "error", err)
		return
	}
	differs := false
	sup.mu.Lock()
	marks := sup.marksIn(t)
	for _, u := range sup.units {
		if u.rec.Main.PID == 0 {
			continue
		}
		now := t.Members(proc.Family{Main: u.rec.Main, Seen: u.rec.Seen, Mark: proc.Mark(sup.stack.home, u.name)}, marks)
		u.cpu = t.CPU(now)
		if !slices.Equal(now, u.rec.Seen) {
			u.rec.Seen, differs = now, true
		}
	}
	sup.mu.Unlock()
	if differs {
		sup.save()
	}
}

// marksIn reads the mark of each process once in its life: what a service
// starts has it from the beginning. The caller holds sup.mu.
func (sup *supervisor) marksIn(t proc.Table) func(pid int) string {
	known := sup.marks
	sup.marks = make(map[proc.ID]string, len(t))
	return func(pid int) string {
		p := t[pid].ID
		m, ok := sup.marks[p]
		if !ok {
			if m, ok = known[p]; !ok {
				m = proc.MarkIn(pid)
			}
			sup.marks[p] = m
		}
		return m
	}
}

// overall is the state of the stack.
func overall(services []ServiceStatus) State {
	out := StateStopped
	for _, s := range services {
		switch s.State {
		case StateStopped:
		case StateReady:
			if out == StateStopped {
				out = StateHealthy
			}
		case StateWaiting, StatePreparing, StateStarting:
			if out != StateDegraded {
				out = StateStarting
			}
		default:
			out = StateDegraded
		}
	}
	return out
}

func portsOf(v service, ports map[string]int) map[string]int {
	out := map[string]int{}
	for _, p := range v.ports {
		if n := ports[v.name+"/"+p.name]; n != 0 {
			out[p.name] = n
		}
	}
	return out
}

// urlOf is the address to show for a service: its own endpoint, or the one
// named like its group.
func urlOf(v service, st *site) string {
	if v.endpoints == nil {
		return ""
	}
	e := v.endpoints(st)
	for _, n := range append([]string{v.name, v.group}, slices.Sorted(maps.Keys(e))...) {
		if x, ok := e[n]; ok {
			return x.URL
		}
	}
	return ""
}
