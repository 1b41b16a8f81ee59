package remote

import (
	"context"
	"errors"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/mlops-integration/mlops"
)

// Search says how [Missing] looks for keys.
type Search struct {
	Few   int // up to that many keys are asked for one by one
	Alone int // of more, each folder is listed that holds more than that many of them
	Jobs  int // requests at once
}

// Missing does what [Store.Missing] does for a store that can tell about one
// object and list a folder.
func Missing(ctx context.Context, keys []string, s interface {
	Stater
	Lister
}, how Search) ([]string, error) {
	if len(keys) <= how.Few {
		how.Alone = how.Few
	}
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
	g.SetLimit(how.Jobs)
	for dir, keys := range byDir {
		if dir == "" || len(keys) <= how.Alone {
			for _, key := range keys {
				g.Go(func() error {
					_, err := s.Stat(gctx, key)
					if errors.Is(err, mlops.ErrNotFound) {
						missing(key)
						return nil
					}
					return err
				})
			}
			continue
		}
		g.Go(func() error {
			there := map[string]bool{}
			for o, err := range s.List(gctx, dir) {
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
