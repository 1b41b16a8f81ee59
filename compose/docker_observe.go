package compose

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// container is what the engine tells of one ("docker inspect").
type container struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status    string // created, running, restarting, exited, dead, paused
		ExitCode  int
		PID       int `json:"Pid"`
		StartedAt time.Time
		OOMKilled bool
		Health    *struct {
			Status string // starting, healthy, unhealthy
			Log    []struct{ Output string }
		}
	}
	RestartCount int
	Config       struct {
		Labels map[string]string
	}
	HostConfig struct {
		PortBindings map[string][]struct{ HostPort string } // by "5000/tcp"
	}
	Mounts []struct{ Source, Destination string }
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// state says in our words how a container is, and why.
func (c container) state() (State, string) {
	s := c.State
	died := fmt.Sprintf("ended with code %d", s.ExitCode)
	if s.OOMKilled {
		died = "killed, because it used more memory than it may"
	}
	switch s.Status {
	case "created":
		return StateWaiting, "for what it depends on"
	case "restarting":
		return StateBackoff, fmt.Sprintf("%s; restart %d", died, c.RestartCount)
	case "exited":
		return StateStopped, died
	case "dead", "paused":
		return StateFailed, s.Status
	}
	if s.Health == nil {
		return StateReady, ""
	}
	var last string
	if n := len(s.Health.Log); n > 0 {
		last = strings.TrimSpace(s.Health.Log[n-1].Output)
		if i := strings.LastIndexByte(last, '\n'); i >= 0 {
			last = last[i+1:]
		}
		last = last[:min(len(last), 200)]
	}
	switch s.Health.Status {
	case "healthy":
		return StateReady, ""
	case "unhealthy":
		return StateUnhealthy, last
	}
	return StateStarting, last
}

// observe asks the engine for the containers of this stack.
func (d *docker) observe(ctx context.Context) (Status, []container, error) {
	st := Status{Runtime: DockerRuntime, Home: d.home}
	list, err := d.docker(ctx, nil, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label=com.docker.compose.project="+d.name())
	if err != nil {
		return st, nil, err
	}
	var all []container
	if ids := strings.Fields(string(list)); len(ids) > 0 {
		b, err := d.docker(ctx, nil, append([]string{"inspect"}, ids...)...)
		if err != nil {
			return st, nil, err
		}
		if err := json.Unmarshal(b, &all); err != nil {
			return st, nil, fmt.Errorf("docker inspect: %w", err)
		}
	}
	if d.record.lost {
		d.record.recover(all)
	}
	here := d.site(io.Discard)
	for _, v := range d.services(false) {
		o := ServiceStatus{Name: v.name, Group: v.group, State: StateStopped, Ports: portsOf(v, d.record.Ports), URL: urlOf(v, here)}
		var own []container
		for _, c := range all {
			if c.service() == v.name {
				own = append(own, c)
			}
		}
		o.summarize(own)
		if o.State == StateStopped {
			o.URL = ""
		}
		st.Services = append(st.Services, o)
	}
	st.State = overall(st.Services)
	return st, all, nil
}

// recover takes from the containers what a record would tell that was deleted:
// without it, the next start would give them other ports.
func (r *dockerRecord) recover(all []container) {
	r.lost = false
	for _, c := range all {
		for key, p := range publishedPorts() {
			if bound := c.HostConfig.PortBindings[strconv.Itoa(p.inside)+"/tcp"]; strings.HasPrefix(key, c.service()+"/") && len(bound) > 0 {
				r.Ports[key], _ = strconv.Atoi(bound[0].HostPort)
			}
		}
		if slices.Contains(scalable, c.service()) {
			r.Scale[c.service()]++
		}
		for _, m := range c.Mounts {
			if m.Destination == "/projects" {
				r.Projects = m.Source
			}
		}
	}
}

// gravity orders states; the gravest of a service's containers is its own.
var gravity = []State{StateReady, StateStarting, StateWaiting, StateStopped, StateBackoff, StateUnhealthy, StateFailed}

func (o *ServiceStatus) summarize(own []container) {
	worst, ready := -1, 0
	for _, c := range own {
		state, why := c.state()
		if state == StateReady {
			ready++
		}
		for i, s := range gravity {
			if s == state && i > worst {
				worst, o.State, o.Message = i, state, why
			}
		}
		if o.PID == 0 {
			o.PID = c.State.PID
		}
		if c.State.PID != 0 && (o.Since.IsZero() || c.State.StartedAt.After(o.Since)) {
			o.Since = c.State.StartedAt
		}
		o.Restarts += c.RestartCount
	}
	if len(own) > 1 {
		o.Message = joinNotes(fmt.Sprintf("%d of %d containers", ready, len(own)), o.Message)
		if o.State == StateStopped && ready > 0 {
			o.State = StateReady // scaled down by hand
		}
	}
}

// status is what the engine tells, with the memory of the processes where they
// are processes of this machine.
func (d *docker) status(ctx context.Context) (Status, error) {
	st, all, err := d.observe(ctx)
	if err != nil {
		return st, err
	}
	for i := range st.Services {
		for _, c := range all {
			if c.service() != st.Services[i].Name || !ofThisMachine(c) {
				continue
			}
			pids, err := d.docker(ctx, nil, "top", c.ID, "-eo", "pid")
			if err != nil {
				continue // it ended meanwhile
			}
			for _, word := range strings.Fields(string(pids)) {
				if pid, err := strconv.Atoi(word); err == nil {
					st.Services[i].PSSBytes += proc.MemoryOf(proc.ID{PID: pid})
				}
			}
		}
	}
	return st, nil
}

// ofThisMachine reports whether the container's process number means that
// container here: an engine may run in a virtual machine, or elsewhere.
func ofThisMachine(c container) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.State.PID))
	return err == nil && c.State.PID != 0 && strings.Contains(string(b), c.ID)
}
