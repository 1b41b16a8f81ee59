package compose

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mlops-integration/mlops/compose/internal/proc"
)

// portFree reports whether a server may listen on port at the loopback
// addresses. It binds, for a moment and without listening, the loopback and
// the wildcard addresses of both families: some systems let a server bind
// 127.0.0.1 although another holds the wildcard.
func portFree(port int) bool {
	for _, a := range []unix.Sockaddr{
		&unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		&unix.SockaddrInet4{Port: port},
		&unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}},
		&unix.SockaddrInet6{Port: port},
	} {
		if errors.Is(bindOnce(a), unix.EADDRINUSE) {
			return false
		}
	}
	return true
}

func bindOnce(a unix.Sockaddr) error {
	domain := unix.AF_INET
	if _, six := a.(*unix.SockaddrInet6); six {
		domain = unix.AF_INET6
	}
	fd, err := unix.Socket(domain, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	unix.CloseOnExec(fd)
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if domain == unix.AF_INET6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return unix.Bind(fd, a)
}

// choosePort picks the number for a port: the one it had before, else its
// first choice, else the next that is free and that no other service of the stack
// wants. The text names the owner of a number that could not be had.
func choosePort(p port, before int, taken func(int) bool, free func(int) bool, who func(int) []proc.Owner) (int, string, error) {
	var why string
	try := []int{p.first}
	if before != 0 && before != p.first {
		try = []int{before, p.first}
	}
	for _, n := range try {
		switch {
		case n != p.first && taken(n):
		case n == 0:
		case free(n):
			return n, withUse(why, n), nil
		case why == "":
			why = heldText(n, who(n))
		}
	}
	start := p.first
	if start == 0 {
		start = 20000
	}
	for n := start + 1; n < start+2000 && n < 65536; n++ {
		if !taken(n) && free(n) {
			return n, withUse(why, n), nil
		}
	}
	return 0, "", fmt.Errorf("no free port from %d on; %s", start, why)
}

func withUse(why string, n int) string {
	if why == "" {
		return ""
	}
	return fmt.Sprintf("%s; using %d", why, n)
}

// heldText says who holds a port.
func heldText(n int, who []proc.Owner) string {
	if len(who) == 0 {
		return fmt.Sprintf("port %d is held by a process that cannot be seen", n)
	}
	return fmt.Sprintf("port %d is held by %s", n, who[0])
}
