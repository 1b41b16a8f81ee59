package remote

import (
	"context"
	"iter"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Missing does what [Store.Missing] does for a driver that can ask for one
// object and list a folder: where more than alone of the keys lie in one folder,
// it is listed. At most jobs requests are on their way at once.
func Missing(ctx context.Context, keys []string, alone, jobs int,
	has func(ctx context.Context, key string) (bool, error), list func(ctx context.Context, dir string) iter.Seq2[Object, error],
) ([]string, error) {
	byDir := map[string][]string{}
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return nil, err
		}
		dir := key[:strings.LastIndex(key, "/")+1]
		byDir[dir] = append(byDir[dir], key)
	}
	var mu sync.Mutex
	var out []string
	missing := func(key string) {
		mu.Lock()
		defer mu.Unlock()
		out = append(out, key)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for dir, keys := range byDir {
		if dir == "" || len(keys) <= alone {
			for _, key := range keys {
				g.Go(func() error {
					there, err := has(gctx, key)
					if err == nil && !there {
						missing(key)
					}
					return err
				})
			}
			continue
		}
		g.Go(func() error {
			there := map[string]bool{}
			for o, err := range list(gctx, dir) {
				if err != nil {
					return err
				}
				there[o.Key] = true
			}
			for _, key := range keys {
				if !there[key] {
					missing(key)
				}
			}
			return nil
		})
	}
	err := g.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out, err
}
