package applesilicon

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"
)

// kernel asks the running kernel. It needs neither cgo nor a child process.
type kernel struct{}

func (kernel) Text(name string) (string, error) {
	v, err := unix.Sysctl(name)
	if err != nil {
		return "", fmt.Errorf("sysctl %s: %w", name, err)
	}
	return v, nil
}

// Number reads an integer of 4 or 8 bytes; which of them a name has differs.
func (kernel) Number(name string) (uint64, error) {
	b, err := unix.SysctlRaw(name)
	if err != nil {
		return 0, fmt.Errorf("sysctl %s: %w", name, err)
	}
	return decodeNumber(name, b)
}

func host(_ context.Context, s *Sample) { identify(kernel{}, s) }
