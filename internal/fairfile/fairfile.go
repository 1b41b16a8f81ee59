// Package fairfile is the files of a home by which the agent, the stack and
// commands agree about how much of the machine work may have: the lease of the
// agent that divides it, a person's word about heat, and the number of slots.
// All lie in <home>/fair.
package fairfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/mlops-integration/mlops/internal/atomicfile"
	"github.com/mlops-integration/mlops/internal/lockfile"
	"github.com/mlops-integration/mlops/internal/trust"
)

// How long a lease is good for, and how often its holder renews it.
const (
	LeaseTime = 2 * time.Minute
	Renew     = 30 * time.Second
)

// Lease says that an agent divides the slots of a server's pools, until it
// expires. Its holder removes it when it ends in order; one that expired is of
// an agent that died, and the pools have to be given their base.
type Lease struct {
	Server   string          `json:"server"`            // the Airflow that the pools are of
	Epoch    int             `json:"epoch"`             // counts the agents that have led
	Max      int             `json:"max"`               // slots of the machine when it is cool
	Budget   int             `json:"budget"`            // slots of now
	Heat     string          `json:"heat"`              // the level that counts, which stays for a while after the heat
	Measured bool            `json:"measured"`          // false: no source told a level
	Reason   string          `json:"reason"`            // what the heat was read from, or why it was not
	Limited  string          `json:"limited,omitempty"` // why the budget is below Max
	Energy   Energy          `json:"energy"`
	Pools    map[string]Pool `json:"pools"`
	Expires  time.Time       `json:"expires"`
}

// Energy is what the machine has used of this day's energy.
type Energy struct {
	Watts     float64 `json:"watts"`           // drawn now
	Joules    float64 `json:"joules"`          // of this day
	Limit     float64 `json:"limit,omitempty"` // joules a day; 0: none
	Estimated bool    `json:"estimated"`       // nothing measures the power
}

// Pool is what an agent decided for one project.
type Pool struct {
	Slots  int       `json:"slots"` // now
	Base   int       `json:"base"`  // without an agent
	Due    float64   `json:"due"`   // its share of the budget, which it has on average
	Since  time.Time `json:"since,omitzero"`
	Cause  string    `json:"cause,omitempty"`  // why it waits
	Before int       `json:"before,omitempty"` // slots' worth of work that comes first
	Edited bool      `json:"edited,omitempty"` // a person set the slots

	QueuedRuns int `json:"queued_runs,omitempty"` // that its quota allows at most; 0: any number
}

// Held reports whether the lease is good at a time. The zero value, which there
// is without a file, is not.
func (l Lease) Held(at time.Time) bool { return at.Before(l.Expires) }

// Expired reports whether there is a lease that its holder did not renew.
func (l Lease) Expired(at time.Time) bool { return !l.Expires.IsZero() && !l.Held(at) }

// HeatOrder is what a person said about the heat: it stands above what is
// measured until it ends.
type HeatOrder struct {
	State string    `json:"state"` // "nominal", "fair", "serious", "critical"
	Until time.Time `json:"until"`
}

// Holds reports whether the order is in force at a time.
func (o HeatOrder) Holds(at time.Time) bool { return at.Before(o.Until) }

const (
	leaseFile = "lease.json"
	heatFile  = "heat.json"
	slotsFile = "slots.json"
	spentFile = "spent.json"
	wattsFile = "energy.json"
	leadFile  = "lead.lock"
)

// ReadLease returns the lease of a home, the zero value if there is none.
func ReadLease(home string) (Lease, error) { return read[Lease](home, leaseFile) }

// WriteLease replaces the lease of a home.
func WriteLease(home string, l Lease) error { return write(home, leaseFile, l) }

// RemoveLease deletes the lease; there being none is no error.
func RemoveLease(home string) error { return remove(home, leaseFile) }

// ReadHeat returns the order of a home, the zero value if there is none.
func ReadHeat(home string) (HeatOrder, error) { return read[HeatOrder](home, heatFile) }

// WriteHeat replaces the order of a home.
func WriteHeat(home string, o HeatOrder) error { return write(home, heatFile, o) }

// RemoveHeat deletes the order; there being none is no error.
func RemoveHeat(home string) error { return remove(home, heatFile) }

// Spent is what pools, and the machine as a whole, have used of a day.
type Spent struct {
	Day     string                   `json:"day"`
	Pools   map[string]time.Duration `json:"pools"` // slots × time
	Joules  map[string]float64       `json:"joules,omitempty"`
	Machine float64                  `json:"machine,omitempty"` // joules
}

// ReadSpent returns what was used, the zero value if nothing says so.
func ReadSpent(home string) (Spent, error) { return read[Spent](home, spentFile) }

// WriteSpent replaces it.
func WriteSpent(home string, s Spent) error { return write(home, spentFile, s) }

type slots struct {
	Slots int `json:"slots"`
}

// Slots is how many slots of work this machine has when it is cool: what
// WriteSlots wrote, else the number of its cores, at least 2 and at most 8.
func Slots(home string) (int, error) {
	s, err := read[slots](home, slotsFile)
	if err != nil || s.Slots > 0 {
		return s.Slots, err
	}
	return min(max(runtime.NumCPU(), 2), 8), nil
}

// WriteSlots sets the number; 0 is the default again.
func WriteSlots(home string, n int) error {
	if n == 0 {
		return remove(home, slotsFile)
	}
	return write(home, slotsFile, slots{n})
}

type energy struct {
	WattHours float64 `json:"watt_hours"`
}

// WattHours is how much energy a day the machine may use; 0 is no limit.
func WattHours(home string) (float64, error) {
	e, err := read[energy](home, wattsFile)
	return e.WattHours, err
}

// WriteWattHours sets it; 0 is no limit.
func WriteWattHours(home string, wh float64) error {
	if wh == 0 {
		return remove(home, wattsFile)
	}
	return write(home, wattsFile, energy{wh})
}

// Parallelism is how many tasks Airflow's executor may have in flight for so
// many slots: a task is in flight for a second or two after Airflow says that it
// ended, and one that ended may not keep the next from beginning.
func Parallelism(slots int) int { return 2 * slots }

// Lead takes the lock of the agent that leads in a home. The error matches
// [lockfile.ErrHeld] if another agent has it.
func Lead(home string) (*os.File, error) {
	if err := os.MkdirAll(folder(home), 0o700); err != nil {
		return nil, err
	}
	f, err := lockfile.Open(filepath.Join(folder(home), leadFile), 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockfile.Try(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func folder(home string) string { return filepath.Join(home, "fair") }

// limit is more than any of these files has.
const limit = 1 << 20

func read[T any](home, name string) (T, error) {
	var v T
	path := filepath.Join(folder(home), name)
	b, err := trust.ReadFile(path, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%s is damaged (%w); delete it", path, err)
	}
	return v, nil
}

func write(home, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder(home), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(folder(home), name), append(b, '\n'), 0o600)
}

func remove(home, name string) error {
	if err := os.Remove(filepath.Join(folder(home), name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
