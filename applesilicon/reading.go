package applesilicon

import "encoding/json"

// Reading is one value as the machine gave it, or the reason why it could not.
// The zero value is "not read"; Value means nothing unless OK, and is null in
// JSON.
type Reading[T any] struct {
	Value  T      `json:"value"`
	OK     bool   `json:"ok"`
	Source string `json:"source,omitempty"` // "sysctl hw.memsize", "IOReport Energy Model"
	Reason string `json:"reason,omitempty"` // "gated by the system"; empty when OK
}

// MarshalJSON writes null for a value that was not read.
func (r Reading[T]) MarshalJSON() ([]byte, error) {
	out := struct {
		Value  *T     `json:"value"`
		OK     bool   `json:"ok"`
		Source string `json:"source,omitempty"`
		Reason string `json:"reason,omitempty"`
	}{nil, r.OK, r.Source, r.Reason}
	if r.OK {
		out.Value = &r.Value
	}
	return json.Marshal(out)
}

func read[T any](v T, source string) Reading[T] {
	return Reading[T]{Value: v, OK: true, Source: source}
}

func unread[T any](reason string) Reading[T] { return Reading[T]{Reason: reason} }

// lacking is a reading that its source did not give.
func lacking[T any](source, reason string) Reading[T] {
	return Reading[T]{Source: source, Reason: reason}
}

// readIf is v, or the error as the reason.
func readIf[T any](v T, source string, err error) Reading[T] {
	if err != nil {
		return lacking[T](source, err.Error())
	}
	return read(v, source)
}

// The reasons that are not a system's own words.
const (
	notApple   = "not an Apple machine"
	notSilicon = "an Intel Mac, not Apple Silicon"
	virtual    = "in a virtual machine"
	noRecord   = "not in a recording"

	warming   = "warming up: needs a second publication"
	gated     = "gated by the system"
	standing  = "stands still while other rails move"
	thawed    = "moves again after a gap: measured from now on"
	noValue   = "IOReport has no value"
	absurd    = "more than any Mac can use"
	stale     = "not published for 10 s"
	wasReset  = "the counter was set back"
	unmoved   = "published at no known time"
	doubtful  = "says 0 while the unit is at work"
	noRail    = "no such rail"
	noChannel = "no such channel"
	noFans    = "this machine has no fans"
)

// ThermalState is how far heat slows the machine down.
type ThermalState int

// The thermal states, as Apple names them.
const (
	ThermalUnknown ThermalState = iota
	ThermalNominal
	ThermalFair
	ThermalSerious
	ThermalCritical
)

func (s ThermalState) String() string {
	return name(int(s), "unknown", "nominal", "fair", "serious", "critical")
}

// MarshalText writes the state's name.
func (s ThermalState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// PowerMode is the user's choice between quiet and fast.
type PowerMode int

// The power modes.
const (
	PowerUnknown PowerMode = iota
	PowerAutomatic
	PowerLow
	PowerHigh
)

func (m PowerMode) String() string {
	return name(int(m), "unknown", "automatic", "low", "high")
}

// MarshalText writes the mode's name.
func (m PowerMode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func name(i int, names ...string) string {
	if i < 0 || i >= len(names) {
		return names[0]
	}
	return names[i]
}
