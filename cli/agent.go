package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/agent"
)

func agentCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "agent",
		Usage: "Send what programs left behind, and divide the machine among projects, as long as it runs (the stack has one)",
		Description: `   mlopsctl agent                             until Ctrl-C
   mlopsctl agent --listen 127.0.0.1:8010     with /health and /metrics`,
		Flags: []cli.Flag{
			e.dirFlag(),
			&cli.StringFlag{Name: "listen", Usage: "`address` of this machine for /health and /metrics; empty: none"},
			&cli.BoolFlag{Name: "share", Usage: "divide the slots of projects' pools also in an Airflow that is not of this home's stack"},
			&cli.DurationFlag{Name: "every", Value: 5 * time.Second, Usage: "time between two looks"},
		},
		Action: func(c *cli.Context) error {
			o, err := e.options(c)
			if err != nil {
				return err
			}
			home, err := e.home()
			if err != nil {
				return err
			}
			if c.Duration("every") <= 0 {
				return usagef("--every: want a time above 0, such as 5s")
			}
			log := slog.New(slog.NewTextHandler(e.stderr, nil))
			a := agent.New(agent.Options{Every: c.Duration("every"), Share: c.Bool("share"), Home: home, Client: o, Logger: log})
			if at := c.String("listen"); at != "" {
				stop, err := serveLoopback(at, a)
				if err != nil {
					return err
				}
				defer stop()
			}
			return a.Run(c.Context)
		},
	}
}

// serveLoopback serves h at an address of this machine only.
func serveLoopback(at string, h http.Handler) (stop func(), err error) {
	host, _, err := net.SplitHostPort(at)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, usagef("--listen %s: want an address of this machine, such as 127.0.0.1:8010", at)
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			slog.Error("agent", "error", err)
		}
	}()
	return func() { _ = s.Close() }, nil
}
