package airflow

import (
	"context"
	"iter"
	"maps"
	"net/url"
	"strconv"
)

// page is one page of a list.
type page[T any] struct {
	items []T
	total int
	next  string // the cursor of the next page, where the list has cursors
}

// pages yields the things of a list, page by page as they are reached. fetch
// reads one page.
//
// Lists with cursors are read by them: runs that start meanwhile neither repeat
// a row nor hide one. A server that does not know cursors is read by offset.
func pages[T any](ctx context.Context, query url.Values, cursors bool, fetch func(context.Context, url.Values) (page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q := maps.Clone(query)
		if q == nil {
			q = url.Values{}
		}
		q.Set("limit", strconv.Itoa(pageLimit))
		if cursors {
			q.Set("cursor", "")
		}
		seen, following := 0, false
		for {
			p, err := fetch(ctx, q)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, v := range p.items {
				if !yield(v, nil) {
					return
				}
			}
			seen += len(p.items)
			switch {
			case p.next != "":
				following = true
				q.Set("cursor", p.next)
			case following || len(p.items) == 0 || seen >= p.total:
				return
			default:
				q.Del("cursor")
				q.Set("offset", strconv.Itoa(seen))
			}
		}
	}
}
