package proc

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stateZombie is SZOMB of <sys/proc.h>.
const stateZombie = 5

// All lists what runs.
//
// Source: sysctl kern.proc.all; the processor times are those of ps.
func All() (Table, error) {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil, err
	}
	out, _ := exec.Command("ps", "-axo", "pid=,time=").Output()
	times := parseTimes(string(out))
	t := Table{}
	for i := range all {
		p := ofKinfo(&all[i])
		p.cpu = times[p.PID]
		t[p.PID] = p
	}
	return t, nil
}

func ofKinfo(k *unix.KinfoProc) Info {
	pid := int(k.Proc.P_pid)
	session, err := unix.Getsid(pid)
	if err != nil {
		session = 0
	}
	start := k.Proc.P_starttime
	return Info{
		ID:      ID{PID: pid, Start: uint64(start.Sec)*1e6 + uint64(start.Usec)},
		parent:  int(k.Eproc.Ppid),
		session: session,
		Zombie:  k.Proc.P_stat == stateZombie,
	}
}

// Inspect looks at one process. The error is [ErrNone] if there is none.
func Inspect(pid int) (Info, error) {
	if pid <= 0 {
		return Info{}, ErrNone
	}
	k, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil || int(k.Proc.P_pid) != pid {
		return Info{}, ErrNone
	}
	return ofKinfo(k), nil
}

// BootID is different after every start of the machine.
func BootID() string {
	if id, err := unix.Sysctl("kern.bootsessionuuid"); err == nil {
		return id
	}
	if tv, err := unix.SysctlTimeval("kern.boottime"); err == nil {
		return strconv.FormatInt(tv.Sec, 10)
	}
	return "unknown"
}

// MarkIn is the mark in the environment that pid was started with; empty if
// there is none, or if we may not look.
func MarkIn(pid int) string {
	b, err := unix.SysctlRaw("kern.procargs2", pid)
	if err != nil {
		return ""
	}
	return environMark(b)
}

// Signal sends sig to p if pid and start time are still its own.
func Signal(p ID, sig syscall.Signal) bool {
	return p.PID > 1 && Alive(p) && syscall.Kill(p.PID, sig) == nil
}

// MemoryOf is the resident memory of p; the system has no cheap figure in
// which shared pages count in part.
func MemoryOf(p ID) int64 {
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(p.PID)).Output()
	if err != nil {
		return 0
	}
	kb, _ := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	return kb << 10
}

// Listeners returns who listens on a TCP port.
func Listeners(port int) []Owner {
	out, _ := exec.Command("lsof", "-nP", "-iTCP:"+strconv.Itoa(port), "-sTCP:LISTEN", "-Fpc").Output()
	return parseLsof(string(out))
}

// parseTimes reads "pid time" lines of ps; the time is [[hh:]mm:]ss.cc.
func parseTimes(text string) map[int]time.Duration {
	out := map[int]time.Duration{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		pid, err := strconv.Atoi(f[0])
		if err != nil {
			continue
		}
		var seconds float64
		for part := range strings.SplitSeq(f[1], ":") {
			v, _ := strconv.ParseFloat(part, 64)
			seconds = seconds*60 + v
		}
		out[pid] = time.Duration(seconds * float64(time.Second))
	}
	return out
}
