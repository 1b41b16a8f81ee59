package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/applesilicon"
)

func appleCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "apple",
		Usage: "Show chip, load, power and heat of this machine",
		Description: `   mlopsctl apple                      one screen
   mlopsctl apple --watch --every 2s   until interrupted
   mlopsctl apple --json | jq .power

   A value that cannot be read is shown with the reason, never as 0; in JSON it
   is null. Machines other than Apple's show what they have.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show a sample every so often, until interrupted"},
			&cli.DurationFlag{Name: "every", Value: time.Second, Usage: "with --watch, `time` between two samples"},
			&cli.BoolFlag{Name: "prometheus", Usage: "print Prometheus' text format"},
			replayFlag(), powermetricsFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.Bool("prometheus") && e.json {
				return usagef("--prometheus and --json exclude each other")
			}
			if c.Duration("every") <= 0 {
				return usagef("--every must be more than 0")
			}
			m, done, err := e.machine(c, nil)
			if err != nil {
				return err
			}
			defer done()
			apple := false
			defer func() {
				if apple {
					e.unverified()
				}
			}()
			show := func(s applesilicon.Sample) error {
				apple = s.Chip.Name.OK
				if c.Bool("prometheus") {
					return s.WritePrometheus(e.stdout)
				}
				return e.table(sampleTable(s), s)
			}
			if !c.Bool("watch") {
				s, err := settled(c.Context, m)
				if err != nil {
					return err
				}
				return show(s)
			}
			for s, err := range m.Watch(c.Context, c.Duration("every")) {
				if err != nil {
					return err
				}
				if e.terminal(e.stdout) && !e.json {
					io.WriteString(e.stdout, "\x1b[H\x1b[2J") // one screen, over the one before
				}
				if err := show(s); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// unverified is said last wherever readings of Apple Silicon are shown.
func (e *env) unverified() {
	e.note("no reading of Apple Silicon is verified on hardware yet: mlopsctl doctor --apple --record mac.ndjson writes yours, for an issue at %s", issuesPage)
}

const issuesPage = "https://github.com/mlops-integration/mlops/issues"

func replayFlag() cli.Flag {
	return &cli.StringFlag{Name: "replay", Usage: "read a recording, `file`, instead of this machine"}
}

func powermetricsFlag() cli.Flag {
	return &cli.BoolFlag{Name: "powermetrics", Usage: "ask Apple's powermetrics, through sudo -n, for power that is kept from users"}
}

// machine opens what --replay names, or this machine. done closes it.
func (e *env) machine(c *cli.Context, record io.Writer) (m *applesilicon.Machine, done func(), err error) {
	o := applesilicon.Options{Record: record, Powermetrics: c.Bool("powermetrics")}
	closeFile := func() {}
	if name := c.String("replay"); name != "" {
		in, err := e.open(name)
		if err != nil {
			return nil, nil, err
		}
		o.Replay, closeFile = in, func() { in.Close() }
	}
	m, err = applesilicon.Open(c.Context, o)
	if err != nil {
		closeFile()
		return nil, nil, err
	}
	return m, func() { m.Close(); closeFile() }, nil
}

// settled is the first sample that has power, which some systems publish only
// every 2 s, or the last of 3 s or of a recording.
func settled(ctx context.Context, m *applesilicon.Machine) (applesilicon.Sample, error) {
	var last applesilicon.Sample
	n := 0
	for s, err := range m.Watch(ctx, 500*time.Millisecond) {
		if err != nil {
			return s, err
		}
		last = s
		if n++; !s.Chip.Name.OK || s.Power.PackageWatts.OK || n == 7 {
			break
		}
	}
	if n == 0 && ctx.Err() == nil {
		return last, errors.New("the recording has no two frames")
	}
	return last, ctx.Err()
}

// sampleTable is one screen of a sample.
func sampleTable(s applesilicon.Sample) *table {
	t := newTable("READING", "VALUE", "SOURCE")
	t.row("machine", strings.TrimSpace(s.Host.Model+" "+s.Host.OSVersion), s.Host.OS+"/"+s.Host.Arch)
	if s.Host.Translated {
		t.row("program", warn("runs under Rosetta: run the arm64 build"), "")
	}
	add(t, "chip", s.Chip.Name, func(v string) string { return v })
	add(t, "cores", s.Chip.Levels, func(v []applesilicon.PerformanceLevel) string {
		var parts []string
		for _, l := range v {
			parts = append(parts, fmt.Sprintf("%d %s", l.Cores, l.Name))
		}
		return strings.Join(parts, ", ")
	})
	add(t, "GPU cores", s.Chip.GPUCores, func(v int) string { return fmt.Sprint(v) })
	add(t, "MPS", s.Chip.MPS, yes)
	add(t, "ANE", s.ANE.Present, yes)
	add(t, "cpu", s.CPU.Percent, percent)
	add(t, "clusters", s.CPU.Clusters, func(v []applesilicon.Cluster) string { return fmt.Sprint(len(v)) })
	for _, c := range s.CPU.Clusters.Value {
		load(t, c.Name, c.ActivePercent, c.FrequencyMegahertz)
		add(t, c.Name+" realised", c.RealisedMegahertz, megahertz)
	}
	add(t, "cpu temperature", s.CPU.TemperatureCelsius, celsius)
	load(t, "gpu", s.GPU.ActivePercent, s.GPU.FrequencyMegahertz)
	add(t, "gpu temperature", s.GPU.TemperatureCelsius, celsius)
	add(t, "fans", s.Fans, func(v []float64) string { return fmt.Sprintf("%.0f turns a minute", v) })
	add(t, "ane running", s.ANE.RunningPercent, percent)
	for _, r := range []struct {
		name  string
		watts applesilicon.Reading[float64]
	}{
		{"cpu power", s.Power.CPUWatts}, {"gpu power", s.Power.GPUWatts}, {"ane power", s.Power.ANEWatts}, {"dram power", s.Power.DRAMWatts},
		{"package power", s.Power.PackageWatts}, {"system power", s.Power.SystemWatts},
	} {
		add(t, r.name, r.watts, func(v float64) string { return fmt.Sprintf("%.3f W", v) })
	}
	add(t, "package energy", s.Energy.PackageJoules, joules)
	add(t, "system energy", s.Energy.SystemJoules, joules)
	add(t, "thermal", s.Thermal, applesilicon.ThermalState.String)
	add(t, "power mode", s.PowerMode, applesilicon.PowerMode.String)
	add(t, "on battery", s.Battery.OnBattery, yes)
	add(t, "memory", s.Memory.Bytes, size)
	add(t, "memory used", s.Memory.UsedBytes, size)
	add(t, "memory pressure", s.Memory.PressureLevel, func(v int) string { return fmt.Sprintf("%d (1 normal, 2 warning, 4 critical)", v) })
	add(t, "gpu memory", s.GPU.MemoryUsedBytes, size)
	add(t, "gpu memory limit", s.GPU.MemoryLimitBytes, size)
	add(t, "swap used", s.Memory.SwapUsedBytes, size)
	add(t, "disk free", s.Disk.AvailableBytes, size)
	return t
}

func add[T any](t *table, name string, r applesilicon.Reading[T], text func(T) string) {
	if r.OK {
		t.row(name, text(r.Value), faint(r.Source))
		return
	}
	t.row(name, faint("- "+r.Reason), faint(r.Source))
}

// load is how busy a part is and at what frequency, or a second line that says
// why that is not known.
func load(t *table, name string, active, mhz applesilicon.Reading[float64]) {
	add(t, name, active, func(v float64) string {
		if !mhz.OK {
			return percent(v)
		}
		return percent(v) + " at " + megahertz(mhz.Value)
	})
	if active.OK && !mhz.OK {
		add(t, name+" frequency", mhz, megahertz)
	}
}

func megahertz(v float64) string { return fmt.Sprintf("%.0f MHz", v) }

func celsius(v float64) string { return fmt.Sprintf("%.1f °C", v) }

func joules(v float64) string { return fmt.Sprintf("%.3f J", v) }

func percent(v float64) string { return fmt.Sprintf("%.1f %%", v) }

func yes(v bool) string { return map[bool]string{true: "yes", false: "no"}[v] }

func size(v uint64) string { return fmt.Sprintf("%.1f GB", float64(v)/1e9) }

func appleDoctorFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "apple", Usage: "look at what can be read of this Mac instead"},
		&cli.StringFlag{Name: "record", Usage: "with --apple, write what is read, undecoded, to `file`, to be sent with a report: lines of JSON, without serial number, host or user name"},
		&cli.DurationFlag{Name: "for", Value: 12 * time.Second, Usage: "with --apple, read for this `time`"},
		replayFlag(), powermetricsFlag(),
	}
}

// doctorApple says what can be read, and records it on request: no Mac's
// readings were there when the decoders were written.
func (e *env) doctorApple(c *cli.Context) error {
	var record io.Writer
	var file *os.File
	if name := c.String("record"); name != "" {
		var err error
		if file, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		record = file
	}
	findings, err := e.diagnose(c, record)
	if file != nil {
		err = errors.Join(err, file.Close())
		if err != nil {
			os.Remove(file.Name()) // it was made by us, and holds nothing of use
		}
	}
	if err != nil {
		return err
	}
	t := newTable("", "CHECK", "FINDING")
	healthy := true
	for _, f := range findings {
		state := good(f.State)
		if f.State != "ok" {
			state, healthy = warn(f.State), false
		}
		t.row(state, f.Check, f.Message)
	}
	if err := e.table(t, findings); err != nil {
		return err
	}
	if file != nil {
		e.note("recorded in %s: what the system said, undecoded, with no serial number, host or user name", file.Name())
	}
	e.unverified()
	if !healthy {
		return withCode(exitFailed, nil)
	}
	return nil
}

func (e *env) diagnose(c *cli.Context, record io.Writer) ([]applesilicon.Finding, error) {
	m, done, err := e.machine(c, record)
	if err != nil {
		return nil, err
	}
	defer done()
	return m.Diagnose(c.Context, c.Duration("for"))
}
