package heat

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/applesilicon"
	"github.com/mlops-integration/mlops/internal/fairfile"
)

// tree writes files below a folder and returns it.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o644))
	}
	return root
}

func TestTheKernelsTripPointsAreTheStates(t *testing.T) {
	zone := func(temp string, more map[string]string) map[string]string {
		const at = "sys/class/thermal/thermal_zone0/"
		files := map[string]string{
			at + "type": "x86_pkg_temp", at + "temp": temp,
			at + "trip_point_0_type": "critical", at + "trip_point_0_temp": "100000",
			at + "trip_point_1_type": "passive", at + "trip_point_1_temp": "90000",
			at + "trip_point_2_type": "active", at + "trip_point_2_temp": "70000",
		}
		for name, content := range more {
			files[name] = content
		}
		return files
	}
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  applesilicon.ThermalState
	}{
		{"cool", zone("45000", nil), applesilicon.ThermalNominal},
		{"fans turn up", zone("70000", nil), applesilicon.ThermalFair},
		{"the kernel slows down", zone("92500", nil), applesilicon.ThermalSerious},
		{"just before it shuts down", zone("95000", nil), applesilicon.ThermalCritical},
		{"no zone", nil, applesilicon.ThermalUnknown},
		{"a zone without trip points", map[string]string{"sys/class/thermal/thermal_zone0/temp": "99000"}, applesilicon.ThermalUnknown},
		{"a trip point that is off", zone("45000", map[string]string{"sys/class/thermal/thermal_zone0/trip_point_0_temp": "-274000"}), applesilicon.ThermalNominal},
		{"the hottest zone counts", zone("45000", map[string]string{
			"sys/class/thermal/thermal_zone1/type": "nvme", "sys/class/thermal/thermal_zone1/temp": "81000",
			"sys/class/thermal/thermal_zone1/trip_point_0_type": "hot", "sys/class/thermal/thermal_zone1/trip_point_0_temp": "80000",
		}), applesilicon.ThermalCritical},
		{"memory is short", zone("45000", map[string]string{"proc/pressure/memory": "some avg10=60.00 avg60=1 avg300=1 total=1\nfull avg10=21.40 avg60=1 avg300=1 total=1"}), applesilicon.ThermalSerious},
		{"memory is a little short", map[string]string{"proc/pressure/memory": "some avg10=60.00 avg60=1 avg300=1 total=1\nfull avg10=5.40 avg60=1 avg300=1 total=1"}, applesilicon.ThermalFair},
		{"processors are busy", map[string]string{"proc/pressure/cpu": "some avg10=99.00 avg60=99 avg300=99 total=1\nfull avg10=99.00 avg60=1 avg300=1 total=1"}, applesilicon.ThermalUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Linux{Root: tree(t, tt.files)}.Read(t.Context())
			require.Equal(t, tt.want, got.State, got.Reason)
			require.False(t, got.Short)
		})
	}
}

func TestAnEmptyBatteryIsShortOfEnergy(t *testing.T) {
	battery := func(kind, status, charge, scope string) Linux {
		return Linux{Root: tree(t, map[string]string{"sys/class/power_supply/B/type": kind, "sys/class/power_supply/B/status": status, "sys/class/power_supply/B/capacity": charge, "sys/class/power_supply/B/scope": scope})}
	}
	require.True(t, battery("Battery", "Discharging", "19", "System").Read(t.Context()).Short)
	require.False(t, battery("Battery", "Discharging", "20", "System").Read(t.Context()).Short)
	require.False(t, battery("Battery", "Charging", "5", "System").Read(t.Context()).Short)
	require.False(t, battery("Battery", "Discharging", "5", "Device").Read(t.Context()).Short, "it is the mouse's")
}

func TestAMacSaysHowItIs(t *testing.T) {
	var s applesilicon.Sample
	require.Equal(t, Reading{}, ofSample(s))
	s.Thermal = applesilicon.Reading[applesilicon.ThermalState]{Value: applesilicon.ThermalSerious, OK: true}
	require.Equal(t, Reading{State: applesilicon.ThermalSerious, Reason: "the Mac's thermal state"}, ofSample(s))
	s.PowerMode = applesilicon.Reading[applesilicon.PowerMode]{Value: applesilicon.PowerLow, OK: true}
	require.True(t, ofSample(s).Short)
	s.PowerMode.Value = applesilicon.PowerAutomatic
	s.Battery.OnBattery = applesilicon.Reading[bool]{Value: true, OK: true}
	s.Battery.ChargePercent = applesilicon.Reading[float64]{Value: 12, OK: true}
	require.True(t, ofSample(s).Short)
	s.Battery.OnBattery.Value = false
	require.False(t, ofSample(s).Short, "it is being charged")
	s.Power.PackageWatts = applesilicon.Reading[float64]{Value: 9, OK: true}
	require.Equal(t, 9.0, ofSample(s).Watts)
	s.Power.SystemWatts = applesilicon.Reading[float64]{Value: 14, OK: true}
	require.Equal(t, 14.0, ofSample(s).Watts)
}

func TestFilesAndCommandsSayAState(t *testing.T) {
	root := tree(t, map[string]string{"hot": "serious since noon", "odd": "warm", "empty": ""})
	require.Equal(t, applesilicon.ThermalSerious, File{filepath.Join(root, "hot")}.Read(t.Context()).State)
	for _, name := range []string{"odd", "empty"} {
		r := File{filepath.Join(root, name)}.Read(t.Context())
		require.Zero(t, r.State)
		require.Contains(t, r.Reason, "says none of nominal, fair, serious, critical")
	}
	require.Contains(t, File{filepath.Join(root, "none")}.Read(t.Context()).Reason, "no such file")

	command := func(script string) Command {
		path := filepath.Join(t.TempDir(), "heat.sh")
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		return Command{Path: path, Timeout: time.Minute}
	}
	require.Equal(t, applesilicon.ThermalCritical, command("echo Critical").Read(t.Context()).State)
	require.Contains(t, command("echo nominal; exit 3").Read(t.Context()).Reason, "exit status 3")
	require.Zero(t, command("yes nominal").Read(t.Context()).State, "it prints without end")
	slow := command("exec sleep 1000")
	slow.Timeout = time.Millisecond
	require.Zero(t, slow.Read(t.Context()).State)
}

type says Reading

func (s says) Read(context.Context) Reading { return Reading(s) }

func TestTheHottestWordCountsAndAPersonsStandsAboveAll(t *testing.T) {
	home, now := t.TempDir(), time.Now()
	require.Equal(t, Reading{Reason: "not measured"}, Judge{}.Read(t.Context()))
	r := Judge{
		says{Reason: "broken"}, says{State: applesilicon.ThermalSerious, Reason: "a"}, says{State: applesilicon.ThermalFair, Short: true, Reason: "b"}, says{Watts: 20},
	}.Read(t.Context())
	require.Equal(t, Reading{State: applesilicon.ThermalSerious, Short: true, Watts: 20, Reason: "a, b"}, r)
	require.Equal(t, r, Ordered(home, now, r))

	require.NoError(t, fairfile.WriteHeat(home, fairfile.HeatOrder{State: "nominal", Until: now.Add(time.Hour)}))
	ordered := Ordered(home, now, r)
	require.Equal(t, applesilicon.ThermalNominal, ordered.State)
	require.Contains(t, ordered.Reason, "set by hand until ")
	require.Equal(t, 20.0, ordered.Watts, "power is measured all the same")
	require.Equal(t, r, Ordered(home, now.Add(time.Hour), r), "the order has ended")
	require.NoError(t, fairfile.WriteHeat(home, fairfile.HeatOrder{State: "mild", Until: now.Add(time.Hour)}))
	require.Equal(t, r, Ordered(home, now, r))
	require.NoError(t, os.WriteFile(filepath.Join(home, "fair", "heat.json"), []byte("{"), 0o600))
	require.Contains(t, Ordered(home, now, r).Reason, "is damaged")
}

func TestTheKernelsCountersAreThePower(t *testing.T) {
	const at = "sys/class/powercap/intel-rapl:"
	root := tree(t, map[string]string{
		at + "0/name": "package-0", at + "0/energy_uj": "1000000", at + "0/max_energy_range_uj": "262143328850",
		at + "0:0/name": "core", at + "0:0/energy_uj": "900000",
		at + "1/name": "package-1", at + "1/energy_uj": "262143000000", at + "1/max_energy_range_uj": "262143328850",
	})
	now := time.Now()
	m := &Meter{Root: root, Clock: func() time.Time { return now }}
	require.Zero(t, m.Read(t.Context()).Watts, "one look is no power")
	set := func(name, v string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(v+"\n"), 0o644))
	}
	set(at+"0/energy_uj", "101000000") // 100 J
	set(at+"1/energy_uj", "49671150")  // 50 J, over the end of the counter
	now = now.Add(5 * time.Second)
	require.InDelta(t, 30, m.Read(t.Context()).Watts, 1e-6)
	require.Zero(t, m.Read(t.Context()).Watts, "no time has passed")
	set(at+"0/energy_uj", "5") // it was reset while the machine slept
	now = now.Add(5 * time.Second)
	require.Contains(t, m.Read(t.Context()).Reason, "were reset")
	set(at+"1/energy_uj", "")
	now = now.Add(5 * time.Second)
	require.Contains(t, m.Read(t.Context()).Reason, "cannot be read")
	require.Zero(t, (&Meter{Root: t.TempDir()}).Read(t.Context()).Watts)
}
