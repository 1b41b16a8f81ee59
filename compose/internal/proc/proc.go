// Package proc knows processes by more than their number: by pid and start time,
// by what started them, by their session, and by a mark in their environment. It
// signals and ends those, and no others, and says who listens on a port.
package proc

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

// ID names one process for as long as the machine runs: a pid comes back
// after a while, a pid with its start time does not.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // in the system's own unit, counted from its own zero
}

// Info is a process as the system lists it.
type Info struct {
	ID
	parent, session int
	cpu             time.Duration
	Zombie          bool // it has ended, and its parent has not looked yet
}

// Table is what runs on the machine at one moment.
type Table map[int]Info

// has reports whether p is in the table, dead or alive.
func (t Table) has(p ID) bool {
	i, ok := t[p.PID]
	return ok && i.Start == p.Start
}

// Family is how a service's processes are recognized: the command we started,
// what was seen to belong to it before, and the mark in the environment.
type Family struct {
	Main ID
	Seen []ID
	Mark string
}

// MarkVariable is in the environment of every process of a service.
const MarkVariable = "MLOPS_SERVICE"

// Mark is what the environment of a service's processes has.
func Mark(home, service string) string { return MarkVariable + "=" + home + ":" + service }

// Members returns the living processes of f: the main one, what it started,
// the members of its session, what carries its mark, what was seen to belong
// to it before, and what those started. Each is known by pid and start time.
//
// The session's number counts only while the main process is in the table:
// afterwards a stranger may have got it.
func (t Table) Members(f Family, marks func(pid int) string) []ID {
	in := map[int]bool{}
	for _, p := range append([]ID{f.Main}, f.Seen...) {
		if p.PID > 0 && t.has(p) {
			in[p.PID] = true
		}
	}
	lead := f.Main.PID > 0 && t.has(f.Main)
	for pid, i := range t {
		if i.Zombie && pid != f.Main.PID {
			continue // it has no environment any more
		}
		if lead && i.session == f.Main.PID || !in[pid] && f.Mark != "" && marks(pid) == f.Mark {
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
	var out []ID
	for pid := range in {
		if !t[pid].Zombie {
			out = append(out, t[pid].ID)
		}
	}
	slices.SortFunc(out, func(a, b ID) int { return a.PID - b.PID })
	return out
}

// Alive reports whether p itself still runs; a process that has ended but was
// not waited for does not.
func Alive(p ID) bool {
	i, err := Inspect(p.PID)
	return err == nil && i.Start == p.Start && !i.Zombie
}

// End ends f: it sends sig to the main process, waits for grace, and kills
// what is left. It returns nil only when nothing is left, and the cause of ctx
// when that ends first.
func End(ctx context.Context, f Family, sig syscall.Signal, grace time.Duration) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(grace)
	Signal(f.Main, sig)
	asked := map[ID]bool{f.Main: true}
	marks := Remembered(MarkIn)
	var left []ID
	for tries := 0; ; {
		t, err := All()
		if err != nil {
			return err
		}
		left = t.Members(f, marks)
		f.Seen = append(f.Seen[:0:0], left...)
		if len(left) == 0 {
			return nil
		}
		switch {
		case time.Now().After(deadline):
			if tries++; tries > 200 { // 10 s
				return fmt.Errorf("processes %s do not end, not even by SIGKILL", pids(left))
			}
			for _, p := range left {
				Signal(p, syscall.SIGKILL)
			}
		case !slices.Contains(left, f.Main):
			// The main process is gone: the others are asked once, and get
			// a little more of the grace.
			for _, p := range left {
				if !asked[p] {
					asked[p] = true
					Signal(p, syscall.SIGTERM)
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

func pids(ps []ID) string {
	var s []string
	for _, p := range ps {
		s = append(s, fmt.Sprint(p.PID))
	}
	return strings.Join(s, ", ")
}

// Remembered answers repeated questions for the mark of a process once.
func Remembered(marks func(pid int) string) func(pid int) string {
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

// CPU is the processor time that the processes have used.
func (t Table) CPU(ps []ID) (sum time.Duration) {
	for _, p := range ps {
		sum += t[p.PID].cpu
	}
	return sum
}

// ErrNone says that there is no process of that number.
var ErrNone = errors.New("no such process")
