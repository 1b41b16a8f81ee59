package fair

import "math"

// Need is what a task declares that it needs of a machine.
type Need struct {
	Memory int64   // bytes
	GPU    float64 // the part of the GPU, to 1
}

// Capacity is what a machine has for tasks. On Apple Silicon, CPU and GPU share
// one memory: its working set is what the GPU may use of it.
type Capacity struct {
	Slots    int   // the budget of a cool machine
	Memory   int64 // bytes of the working set; 0 is not known, so that nothing is limited
	Reserved int64 // of these, what served models hold
}

// SlotsFor returns how many slots a task takes, at least 1: the budget times the
// larger of its parts of the memory and of the GPU, rounded up. More than the
// budget means that the machine cannot hold it.
func (c Capacity) SlotsFor(n Need) int {
	part := n.GPU
	if c.Memory > 0 {
		part = max(part, float64(n.Memory)/float64(c.Memory))
	}
	// a part that is a whole number of slots may come out a hair above it
	return max(1, int(math.Ceil(part*float64(c.Slots)-1e-9)))
}

// Left returns the slots that the reserved memory leaves.
func (c Capacity) Left() int {
	if c.Memory <= 0 || c.Reserved <= 0 {
		return c.Slots
	}
	return c.Slots - min(c.Slots, c.SlotsFor(Need{Memory: c.Reserved}))
}
