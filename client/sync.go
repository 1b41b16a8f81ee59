package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
)

// Backlogs lists the journals of this home: what programs logged to runs and
// MLflow does not have yet. It makes no request.
func (c *Client) Backlogs() iter.Seq2[mlflow.Backlog, error] {
	return func(yield func(mlflow.Backlog, error) bool) {
		if err := c.opened(); err != nil {
			yield(mlflow.Backlog{}, err)
			return
		}
		mlflow.Backlogs(journals(c.settings.home))(yield)
	}
}

// Sync sends what programs that are gone left in this home, as
// [mlflow.Client.Sync] does, to the servers that it knows: the configured one
// and that of the running stack, side by side: a server that does not answer
// holds up none of the others. A journal for another server has an Err that says
// so. Progress is called for one journal at a time.
func (c *Client) Sync(ctx context.Context, opt mlflow.SyncOptions) ([]mlflow.Backlog, error) {
	if err := c.opened(); err != nil {
		return nil, err
	}
	known, err := c.journalServers()
	if err != nil {
		return nil, err
	}
	var (
		mu   sync.Mutex // guards out, errs and progress
		out  []mlflow.Backlog
		errs []error
		wg   sync.WaitGroup
	)
	if progress := opt.Progress; progress != nil {
		opt.Progress = func(b mlflow.Backlog) {
			mu.Lock()
			defer mu.Unlock()
			progress(b)
		}
	}
	for _, m := range known {
		wg.Go(func() {
			list, err := m.Sync(ctx, opt)
			if m != c.MLflow {
				err = errors.Join(err, m.Close())
			}
			mu.Lock()
			defer mu.Unlock()
			out, errs = append(out, list...), append(errs, err)
		})
	}
	wg.Wait()
	there, err := mlflow.BacklogServers(journals(c.settings.home))
	errs = append(errs, err)
	if slices.ContainsFunc(there, func(name string) bool { return known[name] == nil }) {
		list, err := c.unknown(known, opt)
		out, errs = append(out, list...), append(errs, err)
	}
	slices.SortStableFunc(out, func(a, b mlflow.Backlog) int { return a.Created.Compare(b.Created) })
	return out, errors.Join(errs...)
}

// unknown lists the journals for servers that are not among the known ones.
func (c *Client) unknown(known map[string]*mlflow.Client, opt mlflow.SyncOptions) ([]mlflow.Backlog, error) {
	var out []mlflow.Backlog
	for b, err := range c.Backlogs() {
		if err != nil {
			return out, err
		}
		if known[b.Server] != nil || b.Server == "" || b.Waiting == 0 || (opt.Run != "" && !b.Of(opt.Run)) {
			continue
		}
		b.Err = elsewhere(b.Server)
		if opt.Progress != nil {
			opt.Progress(b)
		}
		out = append(out, b)
	}
	return out, nil
}

// elsewhere is the error for a journal whose server nothing leads to.
func elsewhere(server string) error {
	msg := fmt.Sprintf("it is for %s; set MLFLOW_TRACKING_URI to that, and its credentials, to send it", server)
	if server == stackServer {
		msg = "it is for the stack of this home, which does not run; run: mlopsctl start mlflow"
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "mlflow", Op: "Sync", Message: msg}
}

// journalServers are the MLflow servers that configuration leads to, by the
// name that journals have for them.
func (c *Client) journalServers() (map[string]*mlflow.Client, error) {
	name := cmp.Or(c.Config.mlflowOptions(c.settings).Journal.Server, c.MLflow.URL())
	known := map[string]*mlflow.Client{name: c.MLflow}
	stack, err := stackfile.Read(c.settings.home)
	if name == stackServer || errors.Is(err, mlops.ErrNotFound) {
		return known, nil
	}
	e := stack.Endpoints[stackfile.MLflow]
	if err != nil || e.URL == "" {
		return known, err
	}
	secret, err := e.Secret()
	if err != nil {
		return known, err
	}
	ofStack := Config{MLflowURI: e.URL, MLflowAuth: mlops.Auth{Username: e.Username, Password: secret}, sources: map[string]string{"mlflow.uri": fromStack}}
	known[stackServer], err = mlflow.New(ofStack.mlflowOptions(c.settings))
	return known, err
}
