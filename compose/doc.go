// Package compose sets up, starts, watches and stops the stack: real
// PostgreSQL, MLflow, Airflow, Ray Serve and Evidently, and an S3 server on
// request, without Docker.
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//
//		"github.com/mlops-integration/mlops/compose"
//	)
//
//	func main() {
//		s, err := compose.New(compose.Options{Command: "/usr/local/bin/mlopsctl"})
//		if err != nil {
//			log.Fatal(err)
//		}
//		st, err := s.Start(context.Background(), compose.StartOptions{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		for _, v := range st.Services {
//			fmt.Println(v.Name, v.State, v.URL)
//		}
//	}
//
// Each server runs in a Python environment of its own, made by uv from a hashed
// lock that this package embeds. A detached supervisor ("mlopsctl supervise")
// starts the servers in order, restarts what dies, rotates logs and answers on
// a unix socket. Every listener is on the loopback interface and every server
// asks for credentials where it can.
//
// A port that is taken moves to the next free one, before a start and during
// it; what relies on a port that moved is started again.
package compose
