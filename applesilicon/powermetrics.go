package applesilicon

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxDocument is more than a hundred times what powermetrics writes.
const maxDocument = 8 << 20

// documents splits the output of powermetrics, property lists with a NUL after
// each. A part that does not end is left out; one larger than 8 MiB is an
// error. The bytes are those of the loop's turn only.
func documents(r io.Reader) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		in := bufio.NewScanner(r)
		in.Buffer(make([]byte, 0, 64<<10), maxDocument)
		in.Split(func(b []byte, end bool) (int, []byte, error) {
			if i := bytes.IndexByte(b, 0); i >= 0 {
				return i + 1, b[:i], nil
			}
			if end && len(b) > 0 {
				return len(b), b, nil
			}
			return 0, nil, nil
		})
		for in.Scan() {
			b := in.Bytes()
			if i := bytes.LastIndex(b, []byte("<?xml")); i >= 0 {
				b = b[i:] // what stands before was cut off
			}
			if !bytes.Contains(b, []byte("</plist>")) {
				continue
			}
			if !yield(b, nil) {
				return
			}
		}
		if err := in.Err(); err != nil {
			yield(nil, fmt.Errorf("powermetrics: %w", err))
		}
	}
}

// pmSample is what one document tells.
type pmSample struct {
	elapsed            time.Duration
	cpu, gpu, ane, pkg Reading[float64] // watts
	thermal            Reading[ThermalState]
	level              Reading[int]
	clusters           []Cluster
	gpuActive, gpuMHz  Reading[float64]
}

const pmSource = "powermetrics"

// decodePowermetrics reads one document. Keys and number types differ by
// version of macOS; what is missing carries a reason.
func decodePowermetrics(b []byte) (pmSample, error) {
	v, err := parsePlist(b)
	if err != nil {
		return pmSample{}, fmt.Errorf("powermetrics: %w", err)
	}
	top, ok := v.(map[string]any)
	if !ok {
		return pmSample{}, errors.New("powermetrics: the document is no dictionary")
	}
	var s pmSample
	ns, _ := number(top, "elapsed_ns")
	if ns <= 0 || ns > 1e15 {
		return pmSample{}, fmt.Errorf("powermetrics: elapsed_ns is %v", top["elapsed_ns"])
	}
	s.elapsed = time.Duration(ns)
	processor, _ := top["processor"].(map[string]any)
	gpu, _ := top["gpu"].(map[string]any)

	watts := func(in []map[string]any, keys ...string) Reading[float64] {
		for _, key := range keys {
			for _, d := range in {
				v, ok := number(d, key)
				if !ok || v < 0 {
					continue
				}
				if strings.HasSuffix(key, "_energy") { // millijoules
					v /= s.elapsed.Seconds()
				}
				if v/1e3 > mostWatts {
					return lacking[float64](pmSource+" "+key, absurd)
				}
				return read(v/1e3, pmSource+" "+key)
			}
		}
		return lacking[float64](pmSource, "no "+keys[0])
	}
	s.cpu = watts([]map[string]any{processor}, "cpu_power", "cpu_energy")
	s.gpu = watts([]map[string]any{processor, gpu}, "gpu_power", "gpu_energy")
	s.ane = watts([]map[string]any{processor}, "ane_power", "ane_energy")
	s.pkg = watts([]map[string]any{processor}, "combined_power", "package_energy")
	if s.cpu.OK && s.gpu.OK && s.ane.OK { // as everywhere: without DRAM
		s.pkg = read(s.cpu.Value+s.gpu.Value+s.ane.Value, pmSource)
	}
	if s.cpu.OK && s.cpu.Value == 0 { // a processor that runs this program uses something: betas of macOS 27
		s.cpu = lacking[float64](pmSource, doubtful)
		s.ane, s.pkg = s.cpu, s.cpu
	}

	s.thermal, s.level = pressureName(top["thermal_pressure"])
	list, _ := processor["clusters"].([]any)
	for _, v := range list {
		if d, ok := v.(map[string]any); ok {
			s.clusters = append(s.clusters, pmCluster(d))
		}
	}
	s.gpuActive, s.gpuMHz = pmActive(gpu), lacking[float64](pmSource, "no freq_hz")
	if hz, ok := number(gpu, "freq_hz"); ok && hz > 0 {
		if hz >= 1e5 {
			hz /= 1e6
		}
		s.gpuMHz = read(hz, pmSource+" gpu freq_hz") // megahertz, in spite of the name
	}
	return s, nil
}

func number(d map[string]any, key string) (float64, bool) {
	v, ok := d[key].(float64)
	return v, ok
}

// pmActive is the share of time that was neither idle nor switched off.
func pmActive(d map[string]any) Reading[float64] {
	resting, ok := number(d, "idle_ratio")
	if !ok {
		return lacking[float64](pmSource, "no idle_ratio")
	}
	down, _ := number(d, "down_ratio") // from M3 on
	return read(100*max(0, min(1, 1-resting-down)), pmSource)
}

// pmAsked stands for the frequency that was asked for.
var pmAsked = lacking[float64](pmSource, "tells the realised frequency only")

func pmHertz(d map[string]any) Reading[float64] {
	hz, ok := number(d, "freq_hz")
	if !ok || hz <= 0 {
		return lacking[float64](pmSource, "no freq_hz")
	}
	return read(hz/1e6, pmSource)
}

// pmClusterName is the name that IOReport has for a cluster: "PCPU0" for
// "P0-Cluster". S are the cores that it calls PCPU beside MCPU.
func pmClusterName(name string) string {
	m := pmName.FindStringSubmatch(name)
	if m == nil {
		return name
	}
	if m[1] == "S" {
		m[1] = "P"
	}
	return m[1] + "CPU" + m[2]
}

var pmName = regexp.MustCompile(`^([A-Z])(\d*)-Cluster$`)

// pmCluster reads a cluster. How busy it is tells the mean of its cores: the
// cluster's own ratio says when any of them was.
func pmCluster(d map[string]any) Cluster {
	name, _ := d["name"].(string)
	c := Cluster{Name: pmClusterName(name), RealisedMegahertz: pmHertz(d), FrequencyMegahertz: pmAsked, ActivePercent: lacking[float64](pmSource, "no cores")}
	cores, _ := d["cpus"].([]any)
	sum, n := 0.0, 0.0
	for _, v := range cores {
		d, ok := v.(map[string]any)
		if !ok {
			continue
		}
		id, _ := number(d, "cpu")
		core := Core{Name: fmt.Sprintf("cpu%.0f", id), ActivePercent: pmActive(d), FrequencyMegahertz: c.FrequencyMegahertz}
		c.Cores = append(c.Cores, core)
		if core.ActivePercent.OK {
			sum, n = sum+core.ActivePercent.Value, n+1
		}
	}
	if n > 0 {
		c.ActivePercent = read(sum/n, pmSource+", mean of cores")
	}
	return c
}

// pressureName reads the pressure and its level, as macOS counts.
func pressureName(v any) (Reading[ThermalState], Reading[int]) {
	name, ok := v.(string)
	if !ok {
		return lacking[ThermalState](pmSource, "no thermal_pressure"), lacking[int](pmSource, "no thermal_pressure")
	}
	levels := []struct {
		names []string
		state ThermalState
	}{{[]string{"Nominal"}, ThermalNominal}, {[]string{"Moderate", "Light"}, ThermalFair}, {[]string{"Heavy"}, ThermalSerious},
		{[]string{"Trapping"}, ThermalCritical}, {[]string{"Sleeping"}, ThermalCritical}}
	for level, l := range levels {
		if slices.Contains(l.names, name) {
			return read(l.state, pmSource), read(level, pmSource)
		}
	}
	why := fmt.Sprintf("unknown pressure %q", clip(name))
	return lacking[ThermalState](pmSource, why), lacking[int](pmSource, why)
}
