package lineage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

// Options say how far a trace goes. The zero value goes both ways.
type Options struct {
	Back     bool // only where it came from
	Forward  bool // only where it is used
	MaxNodes int  // 0: 500
}

// Trace finds what a thing came from, and what came from it. A thing is named as
// people have it: the ID of a run, "model/3" or "model@alias", a deployment or its
// URL, a tracked path in the client's folder, a hash of DVC, a commit, "dag/run",
// the ID of a drift snapshot.
// The error matches [mlops.ErrNotFound] if no tool knows it. What a server that is
// away would have said is a gap, unless it is needed to find the thing at all.
func Trace(ctx context.Context, c *client.Client, thing string, o Options) (Graph, error) {
	w := &walker{c: c, most: cmp.Or(o.MaxNodes, 500), nodes: map[string]*Node{}, edges: map[Edge]bool{}, gaps: map[Gap]bool{}, walked: map[step]bool{}}
	start, err := w.find(ctx, thing)
	if err != nil {
		return Graph{}, err
	}
	unseen := start.Kind == KindCommit || start.Kind == KindData && start.Facts == nil // only what was found says that it is there
	if !o.Forward {
		w.walk(ctx, start, back)
	}
	if !o.Back || unseen {
		w.walk(ctx, start, forward)
	}
	if unseen && len(w.edges) == 0 && len(w.gaps) == 0 && ctx.Err() == nil {
		return Graph{}, notFound(thing)
	}
	if err := ctx.Err(); err != nil {
		return Graph{}, context.Cause(ctx)
	}
	return w.graph(start), nil
}

// direction is against time, or with it.
type direction int

const (
	back direction = iota
	forward
)

type step struct {
	ref string
	to  direction
}

// walker collects what it finds. What several steps need is asked for once.
type walker struct {
	c    *client.Client
	most int

	nodes  map[string]*Node
	edges  map[Edge]bool
	gaps   map[Gap]bool
	walked map[step]bool
	queue  []step
	cut    bool

	runs        map[string]mlflow.RunInfo
	apps        once[[]rayserve.App]
	experiments once[[]string]
	snapshots   map[string]once[[]evidently.Snapshot] // by project
}

// once is an answer that is asked for at most once.
type once[T any] struct {
	asked bool
	value T
	err   error
}

func (o *once[T]) get(ask func() (T, error)) (T, error) {
	if !o.asked {
		o.value, o.err = ask()
		o.asked = true
	}
	return o.value, o.err
}

// walk follows all edges in one direction, from a node on.
func (w *walker) walk(ctx context.Context, from Node, to direction) {
	w.queue = []step{{w.add(from), to}}
	for len(w.queue) > 0 && ctx.Err() == nil {
		s := w.queue[0]
		w.queue = w.queue[1:]
		n := w.nodes[s.ref]
		if n == nil || w.walked[s] || n.Gone {
			continue
		}
		w.walked[s] = true
		if visit := visits[n.Kind][to]; visit != nil {
			visit(w, ctx, *n)
		}
	}
}

// visits find the neighbours of a node, by kind: those before it, and those after.
var visits map[Kind][2]func(*walker, context.Context, Node)

func init() {
	visits = map[Kind][2]func(*walker, context.Context, Node){
		KindCommit:     {nil, (*walker).runsOfCommit},
		KindData:       {nil, (*walker).runsOfData},
		KindDAGRun:     {(*walker).dagRun, (*walker).runsOfDAGRun},
		KindRun:        {(*walker).beforeRun, (*walker).afterRun},
		KindModel:      {(*walker).beforeModel, (*walker).afterModel},
		KindVersion:    {(*walker).beforeVersion, (*walker).afterVersion},
		KindAlias:      {(*walker).beforeAlias, nil},
		KindDeployment: {(*walker).beforeDeployment, (*walker).afterDeployment},
		KindDrift:      {(*walker).beforeDrift, nil},
	}
}

// add keeps a node and returns its Ref; what is known of it already stays.
func (w *walker) add(n Node) string {
	ref := n.Ref()
	old := w.nodes[ref]
	switch {
	case old == nil && len(w.nodes) >= w.most:
		w.cut = true
	case old == nil:
		n.Facts = maps.Clone(n.Facts)
		maps.DeleteFunc(n.Facts, func(_, v string) bool { return v == "" })
		w.nodes[ref] = &n
	default:
		old.Gone = old.Gone || n.Gone
		old.URL = cmp.Or(old.URL, n.URL)
		if old.Time.IsZero() {
			old.Time = n.Time
		}
		for k, v := range n.Facts {
			if v == "" {
				continue
			}
			if old.Facts == nil {
				old.Facts = map[string]string{}
			}
			old.Facts[k] = v
		}
	}
	return ref
}

// join keeps an edge and its two nodes, and queues the one that is new in the
// direction.
func (w *walker) join(from, to Node, source string, on direction) {
	if !w.keepEdge(from, to, source) {
		return
	}
	next := from.Ref()
	if on == forward {
		next = to.Ref()
	}
	w.queue = append(w.queue, step{next, on})
}

// keepEdge keeps an edge and its two nodes, and reports whether there is room.
func (w *walker) keepEdge(from, to Node, source string) bool {
	a, b := w.add(from), w.add(to)
	if w.nodes[a] == nil || w.nodes[b] == nil {
		return false
	}
	w.edges[Edge{a, b, source}] = true
	return true
}

func (w *walker) gap(n Node, format string, args ...any) {
	w.gaps[Gap{n.Ref(), fmt.Sprintf(format, args...)}] = true
}

// failed notes what could not be asked, or is not there, as a gap, and reports
// whether there was an error.
func (w *walker) failed(n Node, what string, err error) bool {
	if err == nil {
		return false
	}
	if errors.Is(err, mlops.ErrNotFound) {
		w.gap(n, "%s is gone", what)
	} else {
		w.gap(n, "%s cannot be read: %v", what, err)
	}
	return true
}

func (w *walker) graph(start Node) Graph {
	g := Graph{Start: start.Ref(), Nodes: []Node{}, Edges: slices.Collect(maps.Keys(w.edges)), Gaps: slices.Collect(maps.Keys(w.gaps)), Cut: w.cut}
	for _, n := range w.nodes {
		g.Nodes = append(g.Nodes, *n)
	}
	slices.SortFunc(g.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)), a.Time.Compare(b.Time), cmp.Compare(a.Name, b.Name))
	})
	slices.SortFunc(g.Edges, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To), cmp.Compare(a.Source, b.Source))
	})
	slices.SortFunc(g.Gaps, func(a, b Gap) int { return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Missing, b.Missing)) })
	return g
}
