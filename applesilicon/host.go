package applesilicon

import (
	"cmp"
	"context"
	"errors"
	"runtime"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"
)

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

// memory reads what is in use as psutil defines it: all that is not available.
// A Mac's is read by memoryInUse.
func memory(ctx context.Context, s *Sample) {
	const source = "host memory"
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil || m.Total == 0 {
		err = cmp.Or(err, errors.New("no memory"))
		s.Memory.Bytes, s.Memory.UsedBytes = readIf(uint64(0), source, err), readIf(uint64(0), source, err)
		s.Memory.UsedPercent = readIf(0.0, source, err)
	} else {
		const used = "total less available memory"
		s.Memory.Bytes = read(m.Total, source)
		s.Memory.UsedBytes = read(m.Used, used)
		s.Memory.UsedPercent = read(100*float64(m.Used)/float64(m.Total), used)
	}
	swap, err := mem.SwapMemoryWithContext(ctx)
	if err != nil {
		s.Memory.SwapUsedBytes = readIf(uint64(0), "swap", err)
		return
	}
	s.Memory.SwapUsedBytes = read(swap.Used, "swap")
}

// hostFacts is what does not change on a machine that is not a Mac.
func hostFacts(ctx context.Context, s *Sample) {
	s.Host.LogicalCores, _ = cpu.CountsWithContext(ctx, true) // unknown is 0
	s.Host.PhysicalCores, _ = cpu.CountsWithContext(ctx, false)
	if infos, err := cpu.InfoWithContext(ctx); err == nil && len(infos) > 0 {
		s.Host.Model = infos[0].ModelName
	}
}

// diskOfRoot reads the file system of "/". On a Mac psutil asks the volume and
// not the container that it shares with others, which statfs cannot.
func diskOfRoot(ctx context.Context, s *Sample) {
	const source = "statfs /"
	d, err := disk.UsageWithContext(ctx, "/")
	if err != nil {
		s.Disk.UsedBytes, s.Disk.AvailableBytes = readIf(uint64(0), source, err), readIf(uint64(0), source, err)
		s.Disk.UsedPercent = readIf(0.0, source, err)
		return
	}
	s.Disk.AvailableBytes = read(d.Free, source)
	if runtime.GOOS == "darwin" {
		const why = "statfs tells of the container, not of the volume"
		s.Disk.UsedBytes, s.Disk.UsedPercent = lacking[uint64](source, why), lacking[float64](source, why)
		return
	}
	s.Disk.UsedBytes = read(d.Used, source)
	s.Disk.UsedPercent = read(d.UsedPercent, source)
}

func network(ctx context.Context, s *Sample) {
	const source = "interface counters"
	all, err := net.IOCountersWithContext(ctx, false)
	switch {
	case err != nil:
		s.Network.ReceivedBytes, s.Network.SentBytes = readIf(uint64(0), source, err), readIf(uint64(0), source, err)
	case len(all) == 0:
		s.Network.ReceivedBytes, s.Network.SentBytes = unread[uint64]("no interfaces"), unread[uint64]("no interfaces")
	default:
		s.Network.ReceivedBytes, s.Network.SentBytes = read(all[0].BytesRecv, source), read(all[0].BytesSent, source)
	}
}
