package compose

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// proc names one process for as long as the machine runs: a pid comes back
// after a while, a pid with its start time does not.
type proc struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in the system's own unit, counted from its own zero
}

// procInfo is a process as the system lists it.
type procInfo struct {
	proc
	parent, session int
	cpu             time.Duration
	zombie          bool // it has ended, and its parent has not looked yet
}

// table is what runs on the machine at one moment.
type table map[int]procInfo

// has reports whether p is in the table, dead or alive.
func (t table) has(p proc) bool {
	i, ok := t[p.PID]
	return ok && i.Start == p.Start
}

// family is how a service's processes are recognized: the command we started,
// what was seen to belong to it before, and the mark in the environment.
type family struct {
	main proc
	seen []proc
	mark string
}

// markVariable is in the environment of every process of a service.
const markVariable = "MLOPS_SERVICE"

func markOf(home, service string) string { return markVariable + "=" + home + ":" + service }

// members returns the living processes of f: the main one, what it started,
// the members of its session, what carries its mark, what was seen to belong
// to it before, and what those started. Each is known by pid and start time.
//
// The session's number counts only while the main process is in the table:
// afterwards a stranger may have got it.
func (t table) members(f family, marks func(pid int) string) []proc {
	in := map[int]bool{}
	for _, p := range append([]proc{f.main}, f.seen...) {
		if p.PID > 0 && t.has(p) {
			in[p.PID] = true
		}
	}
	lead := f.main.PID > 0 && t.has(f.main)
	for pid, i := range t {
		if i.zombie && pid != f.main.PID {
			continue // it has no environment any more
		}
		if lead && i.session == f.main.PID || !in[pid] && f.mark != "" && marks(pid) == f.mark {
			in[pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for pid, i := range t {
			if !in[pid] && in[i.parent] {
				in[pid], grown = true, true
			}
		}
	}
	delete(in, os.Getpid())
	delete(in, 1)
	delete(in, 0)
	var out []proc
	for pid := range in {
		if !t[pid].zombie {
			out = append(out, t[pid].proc)
		}
	}
	slices.SortFunc(out, func(a, b proc) int { return a.PID - b.PID })
	return out
}

// alive reports whether p itself still runs; a process that has ended but was
// not waited for does not.
func alive(p proc) bool {
	i, err := inspect(p.PID)
	return err == nil && i.Start == p.Start && !i.zombie
}

// end ends f: it sends sig to the main process, waits for grace, and kills
// what is left. It returns nil only when nothing is left, and the cause of ctx
// when that ends first.
func end(ctx context.Context, f family, sig syscall.Signal, grace time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(grace)
	sendSignal(f.main, sig)
	asked := map[proc]bool{f.main: true}
	marks := remembered(markIn)
	var left []proc
	for tries := 0; ; {
		t, err := listProcesses()
		if err != nil {
			return err
		}
		left = t.members(f, marks)
		f.seen = append(f.seen[:0:0], left...)
		if len(left) == 0 {
			return nil
		}
		switch {
		case time.Now().After(deadline):
			if tries++; tries > 200 { // 10 s
				return fmt.Errorf("processes %s do not end, not even by SIGKILL", pids(left))
			}
			for _, p := range left {
				sendSignal(p, syscall.SIGKILL)
			}
		case !slices.Contains(left, f.main):
			// The main process is gone: the others are asked once, and get
			// a little more of the grace.
			for _, p := range left {
				if !asked[p] {
					asked[p] = true
					sendSignal(p, syscall.SIGTERM)
					deadline = minTime(deadline, time.Now().Add(3*time.Second))
				}
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func pids(ps []proc) string {
	var s []string
	for _, p := range ps {
		s = append(s, fmt.Sprint(p.PID))
	}
	return strings.Join(s, ", ")
}

// remembered answers repeated questions for the mark of a process once.
func remembered(marks func(pid int) string) func(pid int) string {
	known := map[int]string{}
	return func(pid int) string {
		m, ok := known[pid]
		if !ok {
			m = marks(pid)
			known[pid] = m
		}
		return m
	}
}

// cpu is the processor time that the processes have used.
func (t table) cpu(ps []proc) (sum time.Duration) {
	for _, p := range ps {
		sum += t[p.PID].cpu
	}
	return sum
}

// errNoProcess says that there is no process of that number.
var errNoProcess = errors.New("no such process")
