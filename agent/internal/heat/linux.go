package heat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops/applesilicon"
)

// Linux reads the files of a Linux kernel. Elsewhere there are none, and it says
// that nothing is measured.
type Linux struct {
	Root string // of the file system; empty: "/"
}

// Read returns the hottest of the thermal zones and of the memory's pressure.
func (l Linux) Read(context.Context) Reading {
	out := Reading{Reason: "the kernel tells no temperature"}
	for _, r := range []Reading{l.zones(), l.pressure()} {
		if r.State > out.State {
			out.State, out.Reason = r.State, r.Reason
		}
	}
	if l.batteryLow() {
		out.Short, out.Reason = true, join(out.Reason, "the battery is nearly empty")
	}
	return out
}

// tripStates are what the kernel does from a trip point on: it turns fans up
// ("active"), slows processors down ("passive"), warns a driver ("hot"), shuts
// down ("critical").
//
// Source: Documentation/driver-api/thermal/sysfs-api.rst
var tripStates = map[string]applesilicon.ThermalState{
	"active": applesilicon.ThermalFair, "passive": applesilicon.ThermalSerious,
	"hot": applesilicon.ThermalCritical, "critical": applesilicon.ThermalCritical,
}

// beforeCritical is how far below the point at which the kernel shuts the
// machine down, in thousandths of a degree, the state is critical already.
const beforeCritical = 5000

func (l Linux) zones() Reading {
	out := Reading{}
	zones, _ := filepath.Glob(l.at("sys/class/thermal/thermal_zone*"))
	for _, zone := range zones {
		temp, ok := number(filepath.Join(zone, "temp"))
		if !ok {
			continue
		}
		trips, _ := filepath.Glob(filepath.Join(zone, "trip_point_*_type"))
		state := applesilicon.ThermalUnknown
		for _, trip := range trips {
			kind := text(trip)
			limit, ok := number(strings.TrimSuffix(trip, "_type") + "_temp")
			if !ok || limit <= 0 || tripStates[kind] == 0 {
				continue
			}
			if kind == "critical" {
				limit -= beforeCritical
			}
			state = max(state, applesilicon.ThermalNominal)
			if temp >= limit {
				state = max(state, tripStates[kind])
			}
		}
		if state > out.State {
			out = Reading{State: state, Reason: fmt.Sprintf("%s is at %.0f °C", text(filepath.Join(zone, "type")), float64(temp)/1000)}
		}
	}
	return out
}

// Shares of the last ten seconds, in percent, in which every task of the machine
// waited for memory. How long tasks wait for processors says nothing: a machine
// that works has none to spare.
const (
	pressedFair    = 5
	pressedSerious = 20
)

func (l Linux) pressure() Reading {
	for line := range strings.SplitSeq(text(l.at("proc/pressure/memory")), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "full" {
			continue
		}
		avg, err := strconv.ParseFloat(strings.TrimPrefix(f[1], "avg10="), 64)
		if err != nil {
			continue
		}
		r := Reading{Reason: fmt.Sprintf("all wait for memory %.0f %% of the time", avg)}
		switch {
		case avg >= pressedSerious:
			r.State = applesilicon.ThermalSerious
		case avg >= pressedFair:
			r.State = applesilicon.ThermalFair
		default:
			return Reading{} // calm is no measure of heat
		}
		return r
	}
	return Reading{}
}

// batteryLow reports whether a battery that feeds the machine is nearly empty.
func (l Linux) batteryLow() bool {
	supplies, _ := filepath.Glob(l.at("sys/class/power_supply/*"))
	for _, s := range supplies {
		charge, ok := number(filepath.Join(s, "capacity"))
		if ok && text(filepath.Join(s, "type")) == "Battery" && text(filepath.Join(s, "scope")) != "Device" && // a mouse has one, too
			text(filepath.Join(s, "status")) == "Discharging" && charge < lowBattery {
			return true
		}
	}
	return false
}

func (l Linux) at(path string) string {
	if l.Root == "" {
		return filepath.Join("/", path)
	}
	return filepath.Join(l.Root, path)
}

// text is a small file of the kernel's, empty if it cannot be read.
func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func number(path string) (int, bool) {
	n, err := strconv.Atoi(text(path))
	return n, err == nil
}
