package applesilicon

import (
	"context"
	"runtime"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/mlops-integration/mlops"
)

// Read takes one sample. It blocks for about 100 ms, over which it measures how
// busy the processor is. It is safe for concurrent use.
//
// Fields that this machine does not offer carry a Reason; the error is only for
// a machine that offers none, and matches [mlops.ErrUnsupported], and for a
// context that is done.
func Read(ctx context.Context) (Sample, error) {
	before := processor(ctx)
	wait := time.NewTimer(100 * time.Millisecond)
	defer wait.Stop()
	select {
	case <-ctx.Done():
		return Sample{}, context.Cause(ctx)
	case <-wait.C:
	}
	s, _ := take(ctx, before)
	if err := context.Cause(ctx); err != nil {
		return Sample{}, err
	}
	if !s.Chip.OK && !s.MemoryBytes.OK && !s.CPUPercent.OK && !s.MemoryUsedBytes.OK && !s.DiskAvailableBytes.OK && !s.NetworkSentBytes.OK {
		return s, &mlops.Error{Kind: mlops.ErrUnsupported, Service: "applesilicon", Op: "Read", Message: "nothing can be read here: " + s.MemoryBytes.Reason}
	}
	return s, nil
}

// take reads everything; the processor's load is since before.
func take(ctx context.Context, before times) (Sample, times) {
	s := Sample{Time: time.Now(), Host: Host{OS: runtime.GOOS, Arch: runtime.GOARCH}}
	host(ctx, &s)
	now := processor(ctx)
	s.CPUPercent = busy(before, now)
	memory(ctx, &s)
	diskOfRoot(ctx, &s)
	network(ctx, &s)
	return s, now
}

// times is the processor's time by use, in seconds since the machine started.
type times struct {
	cpu.TimesStat
	err error
}

func processor(ctx context.Context) times {
	all, err := cpu.TimesWithContext(ctx, false)
	if err != nil || len(all) == 0 {
		return times{err: err}
	}
	return times{all[0], nil}
}

// busy is psutil's cpu_percent: the share of time that was neither idle nor
// waiting for a disk. Guest time is part of user time, and single counters may
// run backwards.
func busy(a, b times) Reading[float64] {
	const source = "processor times"
	if a.err != nil || b.err != nil {
		err := b.err
		if err == nil {
			err = a.err
		}
		return readIf(0.0, source, err)
	}
	grown := func(a, b float64) float64 { return max(0, b-a) }
	rest := grown(a.Idle, b.Idle) + grown(a.Iowait, b.Iowait)
	work := grown(a.User, b.User) + grown(a.System, b.System) + grown(a.Nice, b.Nice) + grown(a.Irq, b.Irq) +
		grown(a.Softirq, b.Softirq) + grown(a.Steal, b.Steal)
	if rest+work == 0 {
		return Reading[float64]{Source: source, Reason: "no time has passed since the sample before"}
	}
	return read(100*work/(rest+work), source)
}

// memory reads what is in use as psutil defines it: on a Mac active and wired
// pages, elsewhere all that is not available.
func memory(ctx context.Context, s *Sample) {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		s.MemoryUsedBytes = readIf(uint64(0), "host memory", err)
		s.MemoryUsedPercent = readIf(0.0, "host memory", err)
		if !s.MemoryBytes.OK {
			s.MemoryBytes = readIf(uint64(0), "host memory", err)
		}
		return
	}
	used, source := m.Used, "total less available memory"
	if runtime.GOOS == "darwin" {
		used, source = m.Active+m.Wired, "active and wired memory"
	}
	if !s.MemoryBytes.OK {
		s.MemoryBytes = read(m.Total, "host memory")
	}
	s.MemoryUsedBytes = read(used, source)
	s.MemoryUsedPercent = read(100*float64(used)/float64(m.Total), source)
}

// diskOfRoot reads the file system of "/". On a Mac psutil asks the volume and
// not the container that it shares with others, which statfs cannot.
func diskOfRoot(ctx context.Context, s *Sample) {
	const source = "statfs /"
	d, err := disk.UsageWithContext(ctx, "/")
	if err != nil {
		s.DiskUsedBytes, s.DiskAvailableBytes = readIf(uint64(0), source, err), readIf(uint64(0), source, err)
		s.DiskUsedPercent = readIf(0.0, source, err)
		return
	}
	s.DiskAvailableBytes = read(d.Free, source)
	if runtime.GOOS == "darwin" {
		s.DiskUsedBytes, s.DiskUsedPercent = unread[uint64](notYet), unread[float64](notYet)
		return
	}
	s.DiskUsedBytes = read(d.Used, source)
	s.DiskUsedPercent = read(d.UsedPercent, source)
}

func network(ctx context.Context, s *Sample) {
	const source = "interface counters"
	all, err := net.IOCountersWithContext(ctx, false)
	switch {
	case err != nil:
		s.NetworkReceivedBytes, s.NetworkSentBytes = readIf(uint64(0), source, err), readIf(uint64(0), source, err)
	case len(all) == 0:
		s.NetworkReceivedBytes, s.NetworkSentBytes = unread[uint64]("no interfaces"), unread[uint64]("no interfaces")
	default:
		s.NetworkReceivedBytes, s.NetworkSentBytes = read(all[0].BytesRecv, source), read(all[0].BytesSent, source)
	}
}
