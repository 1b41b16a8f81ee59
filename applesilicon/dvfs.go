package applesilicon

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// dvfs is the frequencies that the power manager can choose, in MHz, by key.
type dvfs map[string][]float64

func newDVFS(properties map[string][]byte) dvfs {
	out := dvfs{}
	for key, b := range properties {
		if !strings.HasPrefix(key, "voltage-states") {
			continue
		}
		if t, err := decodeTable(b); err == nil {
			out[key] = t
		}
	}
	for _, key := range accClusters(properties["acc-clusters"]) {
		if t, ok := out[key]; ok {
			out["acc-clusters "+key] = t
		}
	}
	return out
}

// accClusters lists the tables that an M5 names for its clusters: 8 bytes
// each, the first the table's number.
func accClusters(b []byte) []string {
	var out []string
	for ; len(b) >= 8; b = b[8:] {
		out = append(out, fmt.Sprintf("voltage-states%d-sram", b[0]))
	}
	return out
}

// decodeTable reads pairs of frequency and millivolts, 4 bytes each, little
// endian. The frequency is in Hz up to M3, where it may not fit 32 bits, and in
// kHz from M4 on; a table of periods or zeros is an error. A leading 0 is off.
// A table may fall in places (the GPU's of the A18 does), not as a whole.
func decodeTable(b []byte) ([]float64, error) {
	if len(b) == 0 || len(b)%8 != 0 {
		return nil, fmt.Errorf("%d bytes are no table of pairs", len(b))
	}
	var out []float64
	unit := 0.0
	for i := 0; i < len(b); i += 8 {
		raw := float64(binary.LittleEndian.Uint32(b[i:]))
		if raw == 0 && len(out) == 0 {
			continue
		}
		if unit == 0 {
			switch {
			case raw >= 1e8:
				unit = 1e6
			case raw >= 1e5:
				unit = 1e3
			default:
				return nil, fmt.Errorf("%v is no frequency", raw)
			}
		}
		mhz := raw / unit
		if n := len(out); n > 0 && mhz < out[n-1] && out[n-1] >= 4000 && unit == 1e6 {
			mhz += (1 << 32) / unit
		}
		if mhz < 100 || mhz > 10_000 {
			return nil, fmt.Errorf("%v MHz does not fit into the table", mhz)
		}
		out = append(out, mhz)
	}
	switch {
	case out == nil:
		return nil, fmt.Errorf("a table of zeros")
	case out[len(out)-1] < out[0]:
		return nil, fmt.Errorf("the table falls from %v MHz to %v MHz", out[0], out[len(out)-1])
	}
	return out, nil
}

// of chooses a table with as many frequencies as there are states: the one
// that chips before M5 have for this sort of cluster, else the one of the
// power manager's list, else any; if these differ, none. A GPU may have more
// states than its table has entries (15 and 6 on an M1 Pro): state i is entry
// i, and the rest hold no time.
func (t dvfs) of(cluster string, steps int, gpu bool) []float64 {
	if steps == 0 {
		return nil
	}
	var known []string
	anyOther := func(key string) bool { return strings.HasSuffix(key, "-sram") && !strings.HasPrefix(key, "acc-") }
	listed := func(key string) bool { return strings.HasPrefix(key, "acc-") }
	switch {
	case gpu:
		known, anyOther = []string{"voltage-states9", "voltage-states9-sram"}, func(string) bool { return false }
		listed = anyOther
	case slices.ContainsFunc(t.keys(), listed): // the list is there instead of the fixed numbers
	case strings.HasPrefix(tier(cluster), "E"):
		known = []string{"voltage-states1-sram"}
	case strings.HasPrefix(tier(cluster), "P"):
		known = []string{"voltage-states5-sram", "voltage-states13-sram"}
	}
	for _, key := range known {
		if len(t[key]) == steps {
			return t[key]
		}
	}
	if gpu {
		for _, key := range known {
			if n := len(t[key]); n > 0 && n < steps {
				return t[key]
			}
		}
	}
	for _, among := range []func(string) bool{listed, anyOther} {
		var found []float64
		one := true
		for _, key := range t.keys() {
			if !among(key) || len(t[key]) != steps {
				continue
			}
			one = one && (found == nil || slices.Equal(found, t[key]))
			found = t[key]
		}
		if found != nil {
			if one {
				return found
			}
			return nil
		}
	}
	return nil
}

func (t dvfs) keys() []string {
	out := make([]string, 0, len(t))
	for k := range t {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
