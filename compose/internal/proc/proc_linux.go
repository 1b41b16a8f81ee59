package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is USER_HZ, the unit of the times in /proc, 100 on every
// Linux that Go runs on.
const ticksPerSecond = 100

// All lists what runs.
//
// Source: proc(5), /proc/<pid>/stat.
func All() (Table, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	t := Table{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if i, err := Inspect(pid); err == nil { // else it has just ended
			t[pid] = i
		}
	}
	return t, nil
}

// Inspect looks at one process. The error matches [ErrNone] if there is none.
func Inspect(pid int) (Info, error) {
	if pid <= 0 {
		return Info{}, ErrNone
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Info{}, ErrNone
	}
	return parseStat(pid, string(b))
}

// parseStat reads a line of /proc/<pid>/stat. The second field is the program's
// name in parentheses and may hold anything, parentheses included.
func parseStat(pid int, line string) (Info, error) {
	_, rest, ok := strings.Cut(line, " (")
	end := strings.LastIndexByte(rest, ')')
	if !ok || end < 0 {
		return Info{}, fmt.Errorf("/proc/%d/stat has no name", pid)
	}
	f := strings.Fields(rest[end+1:]) // f[0] is field 3 of proc(5)
	if len(f) < 20 {
		return Info{}, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f)+2)
	}
	threads, err := strconv.Atoi(f[17])
	if err != nil {
		return Info{}, err
	}
	// While other threads run, an ended first thread is no ended process: its
	// files and ports are still open.
	ended := (f[0] == "Z" || f[0] == "X") && threads <= 1
	i := Info{ID: ID{PID: pid}, Zombie: ended}
	if i.parent, err = strconv.Atoi(f[1]); err != nil {
		return Info{}, err
	}
	if i.session, err = strconv.Atoi(f[3]); err != nil {
		return Info{}, err
	}
	user, err1 := strconv.ParseUint(f[11], 10, 64)
	system, err2 := strconv.ParseUint(f[12], 10, 64)
	start, err3 := strconv.ParseUint(f[19], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Info{}, fmt.Errorf("/proc/%d/stat has times that are no numbers", pid)
	}
	i.cpu = time.Duration(user+system) * (time.Second / ticksPerSecond)
	i.Start = start
	return i, nil
}

// BootID is different after every start of the machine.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// MarkIn is the mark in the environment that pid was started with; empty if
// there is none, or if we may not look.
func MarkIn(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return ""
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.HasPrefix(v, []byte(MarkVariable+"=")) {
			return string(v)
		}
	}
	return ""
}

// Signal sends sig to p, and to no other process: the process is held by a
// descriptor while its start time is compared.
func Signal(p ID, sig syscall.Signal) bool {
	if p.PID <= 1 {
		return false
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		if err != unix.ENOSYS && err != unix.EPERM {
			return false
		}
		return Alive(p) && syscall.Kill(p.PID, sig) == nil
	}
	defer unix.Close(fd)
	return Alive(p) && unix.PidfdSendSignal(fd, sig, nil, 0) == nil
}

// MemoryOf is the memory that p alone accounts for: shared pages count in part.
//
// Source: proc(5), /proc/<pid>/smaps_rollup, "Pss".
func MemoryOf(p ID) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.PID))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// Listeners returns who listens on a TCP port, by /proc/net/tcp and the open
// files of each process. A listener of another user has pid 0 when we are not
// allowed to see whose it is.
func Listeners(port int) []Owner {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, inode := range parseListeners(string(b), port) {
			inodes["socket:["+inode+"]"] = true
		}
	}
	if len(inodes) == 0 {
		return nil
	}
	var out []Owner
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[int]bool{}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err != nil || !inodes[to] {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(fd, "/")[2])
		if !seen[pid] {
			seen[pid] = true
			out = append(out, Owner{PID: pid, Command: commandOf(pid)})
		}
	}
	if len(out) == 0 {
		out = append(out, Owner{})
	}
	return out
}

// parseListeners picks from /proc/net/tcp the inodes of sockets that listen
// (state 0A) on port.
func parseListeners(text string, port int) []string {
	var out []string
	want := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 9 && f[3] == "0A" && strings.HasSuffix(f[1], want) {
			out = append(out, f[9])
		}
	}
	return out
}

// commandOf is the program's name, as ps shows it.
func commandOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
