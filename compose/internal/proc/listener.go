package proc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Owner is a process that listens on a port; pid 0 means that we may not know,
// or that the port is only promised to it.
type Owner struct {
	PID     int
	Command string
}

// String names the process for an error.
func (o Owner) String() string {
	switch {
	case o.PID == 0 && o.Command != "":
		return o.Command
	case o.PID == 0:
		return "a process of another user"
	case o.Command == "":
		return "pid " + strconv.Itoa(o.PID)
	}
	return fmt.Sprintf("%s (pid %d)", o.Command, o.PID)
}

// parseLsof reads the output of lsof -Fpc: a line "p<pid>", then "c<command>".
func parseLsof(text string) []Owner {
	var out []Owner
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "p"):
			pid, err := strconv.Atoi(line[1:])
			if err == nil {
				out = append(out, Owner{PID: pid})
			}
		case strings.HasPrefix(line, "c") && len(out) > 0:
			out[len(out)-1].Command = line[1:]
		}
	}
	return out
}

// environMark looks for our mark among the environment in b, the answer of
// sysctl kern.procargs2: a 32-bit count of arguments, the program's path,
// zeros, the arguments and the environment, each ended by a zero.
func environMark(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	args := int(binary.LittleEndian.Uint32(b))
	b = b[4:]
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return ""
	}
	b = bytes.TrimLeft(b[end:], "\x00")
	for n := 0; len(b) > 0; n++ {
		word, rest, _ := bytes.Cut(b, []byte{0})
		if n >= args && bytes.HasPrefix(word, []byte(MarkVariable+"=")) {
			return string(word)
		}
		b = rest
	}
	return ""
}
