// Package lineage tells where a thing came from and where it is used, across the
// tools: data and commit, DAG run, run, logged model, model version, alias,
// deployment, drift snapshot. It is found on the servers alone, from any machine:
//
//	c, err := client.Open(ctx)
//	…
//	g, err := lineage.Trace(ctx, c, "sentiment@champion", lineage.Options{})
//
// What no server says is part of the answer: see [Graph.Gaps].
package lineage

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// Kind is what a node stands for.
type Kind string

// The kinds of nodes, in the order in which things come to be.
const (
	KindCommit     Kind = "commit"        // of git, in the repository that a run names
	KindData       Kind = "data"          // a version of data, by DVC's hash
	KindDAGRun     Kind = "dag_run"       // of Airflow
	KindRun        Kind = "run"           // of MLflow
	KindModel      Kind = "logged_model"  // of MLflow, registered or not
	KindVersion    Kind = "model_version" // of MLflow's registry
	KindAlias      Kind = "alias"         // that names a version now
	KindDeployment Kind = "deployment"    // an application of Ray Serve
	KindDrift      Kind = "drift"         // a snapshot of Evidently
)

// Kinds are the kinds, in the order in which things come to be.
var Kinds = []Kind{KindCommit, KindData, KindDAGRun, KindRun, KindModel, KindVersion, KindAlias, KindDeployment, KindDrift}

// Node is a thing of one of the tools.
type Node struct {
	Kind  Kind              `json:"kind"`
	Name  string            `json:"name"` // as its tool calls it: "sentiment/3", a run's ID, a hash
	Time  time.Time         `json:"time,omitzero"`
	URL   string            `json:"url,omitempty"`
	Facts map[string]string `json:"facts,omitempty"` // what its tool says of it
	Gone  bool              `json:"gone,omitempty"`  // it is named by another, and deleted
}

// Ref is how edges and gaps name a node.
func (n Node) Ref() string { return string(n.Kind) + " " + n.Name }

// Edge says that one thing went into another, or became it.
type Edge struct {
	From   string `json:"from"` // [Node.Ref]
	To     string `json:"to"`
	Source string `json:"source"` // the place that says so
}

// Gap is what a node does not say, or what of it cannot be read.
type Gap struct {
	Node    string `json:"node"` // [Node.Ref]
	Missing string `json:"missing"`
}

// Graph is what was found.
type Graph struct {
	Start string `json:"start"` // [Node.Ref] of what was asked for
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
	Gaps  []Gap  `json:"gaps"`
	Cut   bool   `json:"cut,omitempty"` // there is more than [Options.MaxNodes]
}

// Node returns a node by its Ref.
func (g Graph) Node(ref string) (Node, bool) {
	i := slices.IndexFunc(g.Nodes, func(n Node) bool { return n.Ref() == ref })
	if i < 0 {
		return Node{}, false
	}
	return g.Nodes[i], true
}

// Of returns the nodes of a kind.
func (g Graph) Of(kind Kind) []Node {
	var out []Node
	for _, n := range g.Nodes {
		if n.Kind == kind {
			out = append(out, n)
		}
	}
	return out
}

// WriteDOT writes the graph in Graphviz' language.
func (g Graph) WriteDOT(w io.Writer) error {
	if _, err := fmt.Fprintln(w, "digraph lineage {\n  rankdir=LR;\n  node [shape=box];"); err != nil {
		return err
	}
	for _, n := range g.Nodes {
		style := ""
		if n.Gone {
			style = ", style=dashed"
		}
		if _, err := fmt.Fprintf(w, "  %s [label=%s%s];\n", strconv.Quote(n.Ref()), strconv.Quote(string(n.Kind)+"\n"+n.Name), style); err != nil {
			return err
		}
	}
	for _, e := range g.Edges {
		if _, err := fmt.Fprintf(w, "  %s -> %s;\n", strconv.Quote(e.From), strconv.Quote(e.To)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, "}")
	return err
}
