package sim

import "time"

type kind uint8

const (
	endEvent  kind = iota // a task ends
	runEvent              // a run comes
	tickEvent             // heat is read
	lookEvent             // the agent looks again
)

type event struct {
	at    time.Duration // since the beginning
	kind  kind
	of    int // the project
	n     int // tasks of a run
	takes time.Duration
	seq   int
}

// agenda is a heap of events; equal times keep the order in which they were added.
type agenda struct {
	heap  []event
	added int
}

func (a *agenda) less(i, j int) bool {
	if a.heap[i].at != a.heap[j].at {
		return a.heap[i].at < a.heap[j].at
	}
	return a.heap[i].seq < a.heap[j].seq
}

func (a *agenda) add(e event) {
	a.added++
	e.seq = a.added
	a.heap = append(a.heap, e)
	for i := len(a.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.less(i, up) {
			return
		}
		a.heap[i], a.heap[up] = a.heap[up], a.heap[i]
		i = up
	}
}

func (a *agenda) next() event {
	first := a.heap[0]
	last := len(a.heap) - 1
	a.heap[0] = a.heap[last]
	a.heap = a.heap[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if a.less(c, least) {
				least = c
			}
		}
		if least == i {
			return first
		}
		a.heap[i], a.heap[least] = a.heap[least], a.heap[i]
		i = least
	}
}
