// Package compose sets up, starts, watches and stops the stack: real
// PostgreSQL, MLflow, Airflow, Ray Serve and Evidently, without Docker.
//
//	s, err := compose.New(compose.Options{})
//	err = s.Setup(ctx, compose.SetupOptions{})
//	err = s.Start(ctx, compose.StartOptions{})
//	st, err := s.Status(ctx)
//
// Each server runs in a Python environment of its own, made by uv from a hashed
// lock that this package embeds. A detached supervisor starts the servers in
// order, restarts what dies, rotates logs and answers on a unix socket. Every
// listener is on the loopback interface and every server asks for credentials
// where it can.
package compose
