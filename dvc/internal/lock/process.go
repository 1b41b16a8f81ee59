package lock

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is what the system says of a pid.
type Process struct {
	Ended bool      // a zombie
	began time.Time // zero when not known
	cmd   string    // "" when not known
}

// Inspect looks at a process; ok is false when there is none.
//
// Source: proc(5), /proc/<pid>/stat and /proc/stat; ps(1) elsewhere.
func Inspect(pid int) (p Process, ok bool) {
	if pid <= 0 {
		return p, false
	}
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return p, false
	}
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return inspectPS(pid), true
	}
	cmd, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
	p.cmd = strings.Join(strings.Fields(strings.ReplaceAll(string(cmd), "\x00", " ")), " ")
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // the name before it may hold anything
	if len(f) < 20 {
		return p, true
	}
	p.Ended = (f[0] == "Z" || f[0] == "X") && f[17] == "1" // other threads may outlive the first
	if ticks, err := strconv.ParseInt(f[19], 10, 64); err == nil {
		if boot := bootTime(); !boot.IsZero() {
			p.began = boot.Add(time.Duration(ticks) * 10 * time.Millisecond) // USER_HZ is 100 wherever Go runs
		}
	}
	return p, true
}

func bootTime() time.Time {
	text, _ := os.ReadFile("/proc/stat")
	_, rest, _ := strings.Cut(string(text), "\nbtime ")
	rest, _, _ = strings.Cut(rest, "\n")
	if sec, err := strconv.ParseInt(rest, 10, 64); err == nil {
		return time.Unix(sec, 0)
	}
	return time.Time{}
}

func inspectPS(pid int) (p Process) {
	cmd := exec.Command("ps", "-o", "stat=,lstart=,command=", "-p", strconv.Itoa(pid))
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, _ := cmd.Output()
	f := strings.Fields(string(out))
	if len(f) < 6 {
		return p
	}
	p.Ended = strings.HasPrefix(f[0], "Z")
	p.began, _ = time.ParseInLocation(time.ANSIC, strings.Join(f[1:6], " "), time.Local)
	p.cmd = strings.Join(f[6:], " ")
	return p
}
