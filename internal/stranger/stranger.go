// Package stranger is a foreign server, for tests: it asks for
// credentials and keeps each byte that it is sent. Only tests import it.
package stranger

import (
	"encoding/base64"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Server listens until the test ends.
type Server struct {
	URL string // "http://127.0.0.1:40000"

	mu  sync.Mutex
	got strings.Builder
}

// Listen begins to listen on address, "127.0.0.1:0" for any free port.
func Listen(t testing.TB, address string) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { l.Close() })
	s := &Server{URL: "http://" + l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.answer(c)
		}
	}()
	return s, nil
}

// New is Listen on a free port of the loopback interface.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Listen(t, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Server) answer(c net.Conn) {
	defer c.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		s.mu.Lock()
		s.got.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n")
	}
}

var basic = regexp.MustCompile(`(?i)Basic ([A-Za-z0-9+/]+=*)`)

// Got returns all bytes that came in, and then each user and password in them
// in the clear.
func (s *Server) Got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.got.String()
	for _, m := range basic.FindAllStringSubmatch(out, -1) {
		if b, err := base64.StdEncoding.DecodeString(m[1]); err == nil {
			out += "\n" + string(b)
		}
	}
	return out
}
