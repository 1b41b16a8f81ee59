package fair

import (
	"fmt"
	"time"
)

// Level is how hot a machine is, in Apple's words.
type Level string

const (
	LevelNominal  Level = "nominal"
	LevelFair     Level = "fair"
	LevelSerious  Level = "serious"
	LevelCritical Level = "critical"
)

// Levels are the levels, the coolest first.
var Levels = []Level{LevelNominal, LevelFair, LevelSerious, LevelCritical}

// factors are the parts of the budget that each of Levels leaves.
var factors = []float64{1, 0.75, 0.5, 0}

// step is the level's place in Levels; of a name that is none, 0 and false.
func (l Level) step() (int, bool) {
	for i, known := range Levels {
		if l == known {
			return i, true
		}
	}
	return 0, false
}

// Valid reports whether l is one of Levels.
func (l Level) Valid() bool {
	_, ok := l.step()
	return ok
}

// Reading is what a look found of heat and energy; the zero value is "nothing was
// read".
type Reading struct {
	Level    Level   // empty is not read
	LowPower bool    // the system saves power
	Battery  float64 // its charge, above 0 to 1; 0 is no battery, or not read
	Spent    float64 // joules spent this day, of Heat.Joules
	Watts    float64 // drawn now; 0 is not read
	Running  int     // slots that draw them
	Source   string  // "thermal state", "file /run/heat"; what the reading is from
}

// Heat steers the budget by heat and energy: down at once, up one step for each
// minute in which there was no cause to stay. It is not safe for concurrent use.
type Heat struct {
	Max    int     // the budget of a cool machine
	Joules float64 // what may be spent a day; 0 is no limit
	// Day is how long a day is; 0 is 24 hours. The pace of the energy is such that
	// what is left lasts for a 24th of it at least.
	Day time.Duration

	at      time.Time
	heat    ladder
	saving  ladder
	energy  ladder
	perSlot float64 // watts that a slot draws, averaged
}

// Decision is what Heat makes of a reading.
type Decision struct {
	Slots    int    `json:"slots"`
	Level    Level  `json:"level"`    // the one that holds, which may be hotter than what was read
	Measured bool   `json:"measured"` // false: no level was read
	Cause    Cause  `json:"cause,omitempty"`
	Reason   string `json:"reason,omitempty"` // in words; empty at the full budget of a level that was read
}

// calm is for how long a cause must have been gone for one step up.
const calm = time.Minute

// ladder is a quantity that follows its target down at once, and up by one step
// for each calm.
type ladder struct {
	down int           // steps below the top
	free time.Duration // for how long the target has been above
}

// follow moves the ladder towards a target of so many steps below the top.
func (l *ladder) follow(target int, dt time.Duration) {
	if target >= l.down {
		l.down, l.free = target, 0
		return
	}
	if l.free += dt; l.free >= calm {
		l.down--
		l.free = 0
	}
}

// Budget returns the budget for now. At least one slot is left, but at critical
// and once the day's energy is spent. A clock that jumps counts for nothing, or for
// ten seconds.
func (h *Heat) Budget(now time.Time, r Reading) Decision {
	dt := min(max(now.Sub(h.at), 0), longestLook)
	if h.at.IsZero() {
		dt = 0
	}
	h.at = now
	step, measured := r.Level.step()
	h.heat.follow(step, dt)
	save := 0
	if r.LowPower || r.Battery > 0 && r.Battery < 0.2 {
		save = 1
	}
	h.saving.follow(save, dt)

	d := Decision{Level: Levels[h.heat.down], Measured: measured}
	factor := factors[h.heat.down]
	if h.saving.down > 0 {
		factor /= 2
	}
	d.Slots = int(float64(h.Max) * factor)
	if factor > 0 {
		d.Slots = max(d.Slots, min(1, h.Max))
	}
	switch {
	case d.Slots == h.Max && !measured:
		d.Reason = "not measured"
	case h.heat.down > 0 && h.saving.down > 0:
		d.Cause, d.Reason = CauseHeat, fmt.Sprintf("%s, and the machine saves its battery", d.Level)
	case h.heat.down > 0:
		d.Cause, d.Reason = CauseHeat, string(d.Level)
	case h.saving.down > 0:
		d.Cause, d.Reason = CauseHeat, "the machine saves its battery"
	}
	if slots, limited := h.afford(r, dt); limited && slots < d.Slots {
		d.Slots, d.Cause = slots, CauseEnergy
		d.Reason = fmt.Sprintf("%.0f %% of the day's energy is spent", 100*r.Spent/h.Joules)
	}
	return d
}

// afford returns how many slots the rest of the day's energy pays for: all while
// it lasts for a 24th of the day, then fewer and fewer, one as long as anything is
// left, none thereafter.
func (h *Heat) afford(r Reading, dt time.Duration) (int, bool) {
	if !(h.Joules > 0) {
		return 0, false
	}
	if r.Watts > 0 && r.Running > 0 {
		now := r.Watts / float64(r.Running)
		if h.perSlot == 0 {
			h.perSlot = now
		}
		h.perSlot += (now - h.perSlot) * min(1, dt.Seconds()/calm.Seconds())
	}
	left := h.Joules - r.Spent
	if left <= 0 {
		h.energy = ladder{down: h.Max}
		return 0, true
	}
	slots := h.Max
	if h.perSlot > 0 {
		day := h.Day
		if day <= 0 {
			day = 24 * time.Hour
		}
		slots = int(min(float64(h.Max), left/(h.perSlot*(day/24).Seconds())))
	}
	h.energy.follow(h.Max-max(slots, min(1, h.Max)), dt)
	return max(h.Max-h.energy.down, min(1, h.Max)), true
}
