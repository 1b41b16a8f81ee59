package airflow

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// DAG is a DAG as the server knows it.
type DAG struct {
	ID              string    `json:"dag_id"`
	Description     string    `json:"description"`
	Paused          bool      `json:"is_paused"` // runs may be triggered but stay queued
	Stale           bool      `json:"is_stale"`  // its file is gone
	Tags            []string  `json:"-"`
	Schedule        string    `json:"timetable_summary"` // empty: triggered only
	Owners          []string  `json:"owners"`
	MaxActiveRuns   int       `json:"max_active_runs"`
	File            string    `json:"fileloc"`
	FileToken       string    `json:"file_token"` // names the file in a request to read it again
	Bundle          string    `json:"bundle_name"`
	LastParsed      time.Time `json:"last_parsed_time"`
	NextRun         time.Time `json:"next_dagrun_run_after"` // zero: none is due
	HasImportErrors bool      `json:"has_import_errors"`     // the file broke since; this is the last good version
}

// UnmarshalJSON reads the server's form, in which a tag is an object.
func (d *DAG) UnmarshalJSON(b []byte) error {
	type plain DAG
	w := struct {
		*plain
		Tags []struct {
			Name string `json:"name"`
		} `json:"tags"`
	}{plain: (*plain)(d)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	d.Tags = nil
	for _, t := range w.Tags {
		d.Tags = append(d.Tags, t.Name)
	}
	slices.Sort(d.Tags)
	return nil
}

// Hash returns what the tag mlops-sha:<hash> says: the version of the
// declaration that the server runs. It is empty for a DAG of another origin.
func (d DAG) Hash() string {
	for _, t := range d.Tags {
		if h, ok := strings.CutPrefix(t, hashTag); ok {
			return h
		}
	}
	return ""
}

// Project returns what the tag mlops-project:<project> says: who declared the
// DAG. It is empty for a DAG that was declared without one or by hand. A name
// that is too long for a tag is shortened and ends in a part of its hash.
func (d DAG) Project() string {
	for _, t := range d.Tags {
		if p, ok := strings.CutPrefix(t, projectTag); ok {
			return p
		}
	}
	return ""
}

// OfProject reports whether project declared the DAG.
func (d DAG) OfProject(project string) bool {
	return project != "" && d.Project() == projectShown(project)
}

// Get returns the DAG of an ID. The error matches [mlops.ErrNotFound] if the
// server has not met it (yet).
//
// Airflow REST: GET /api/v2/dags/{dag_id}
func (s DAGsService) Get(ctx context.Context, id string) (DAG, error) {
	return do[DAG](ctx, s.c, request{op: "DAGs.Get", method: "GET", path: "/dags/%s", ids: []string{id}, again: true})
}

// DAGQuery selects DAGs; its zero value selects all whose file exists.
type DAGQuery struct {
	Prefix       string   // of the ID
	Tags         []string // it has all of them
	Paused       *bool    // nil: either
	IncludeStale bool     // those whose file is gone as well
}

// All lists DAGs by ID.
//
// Airflow REST: GET /api/v2/dags
func (s DAGsService) All(ctx context.Context, q DAGQuery) iter.Seq2[DAG, error] {
	all := pages(ctx, q.values(), false, func(ctx context.Context, v url.Values) (page[DAG], error) {
		out, err := do[struct {
			DAGs  []DAG `json:"dags"`
			Total int   `json:"total_entries"`
		}](ctx, s.c, request{op: "DAGs.All", method: "GET", path: "/dags", query: v, again: true})
		return page[DAG]{items: out.DAGs, total: out.Total}, err
	})
	return func(yield func(DAG, error) bool) {
		for d, err := range all {
			if err == nil && !strings.HasPrefix(d.ID, q.Prefix) {
				continue // the server drops what a prefix ends in beside letters and digits
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func (q DAGQuery) values() url.Values {
	v := url.Values{"order_by": {"dag_id"}}
	if q.Prefix != "" {
		v.Set("dag_id_prefix_pattern", q.Prefix)
	}
	if len(q.Tags) > 0 {
		v["tags"] = q.Tags
		v.Set("tags_match_mode", "all")
	}
	if q.Paused != nil {
		v.Set("paused", strconv.FormatBool(*q.Paused))
	}
	v.Set("exclude_stale", strconv.FormatBool(!q.IncludeStale))
	return v
}

// Pause stops a DAG from starting runs and tasks; running tasks continue.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}
func (s DAGsService) Pause(ctx context.Context, id string) error {
	return s.setPaused(ctx, "DAGs.Pause", id, true)
}

// Unpause lets a DAG run again.
//
// Airflow REST: PATCH /api/v2/dags/{dag_id}
func (s DAGsService) Unpause(ctx context.Context, id string) error {
	return s.setPaused(ctx, "DAGs.Unpause", id, false)
}

func (s DAGsService) setPaused(ctx context.Context, op, id string, paused bool) error {
	_, err := do[DAG](ctx, s.c, request{op: op, method: "PATCH", path: "/dags/%s", ids: []string{id}, body: map[string]bool{"is_paused": paused}, again: true})
	return err
}

// Delete removes a DAG, its runs and their task instances from the server.
// While its file is there the server reads it again: [Client.Remove] takes both
// away, in order.
// The error matches [mlops.ErrConflict] while a task of it runs.
//
// Airflow REST: DELETE /api/v2/dags/{dag_id} (204)
func (s DAGsService) Delete(ctx context.Context, id string) error {
	return transport.Gone(ctx, s.c.way(), func() error {
		_, err := do[none](ctx, s.c, request{op: "DAGs.Delete", method: "DELETE", path: "/dags/%s", ids: []string{id}})
		return err
	})
}

// ImportError is a file that the server could not read as a DAG. As an error it
// comes from [Client.WaitDAG].
type ImportError struct {
	ID         int       `json:"import_error_id"`
	Time       time.Time `json:"timestamp"`
	File       string    `json:"filename"` // relative to its bundle
	Bundle     string    `json:"bundle_name"`
	StackTrace string    `json:"stack_trace"` // Python's
}

// Error names the file and Python's last line.
func (e *ImportError) Error() string {
	return fmt.Sprintf("%s cannot be imported: %s", e.File, lastLine(e.StackTrace))
}

// Project returns which project declared the DAG of the file, if the error tells.
func (e *ImportError) Project() (project string, ok bool) {
	m := projectOfError.FindStringSubmatch(e.StackTrace)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// projectOfError finds what the helper says of a declaration that fails.
var projectOfError = regexp.MustCompile(`ValueError: ` + hashTag + `[0-9a-f]{12} ` + projectTag + `(\S*): `)

// Unwrap says that the file is at fault: [mlops.ErrInvalid].
func (e *ImportError) Unwrap() error { return mlops.ErrInvalid }

// ImportErrors lists the files that the server could not read.
//
// Airflow REST: GET /api/v2/importErrors
func (s DAGsService) ImportErrors(ctx context.Context) iter.Seq2[ImportError, error] {
	return s.c.importErrors(ctx, "DAGs.ImportErrors", nil)
}

func (c *Client) importErrors(ctx context.Context, op string, q url.Values) iter.Seq2[ImportError, error] {
	return pages(ctx, q, false, func(ctx context.Context, v url.Values) (page[ImportError], error) {
		out, err := do[struct {
			Errors []ImportError `json:"import_errors"`
			Total  int           `json:"total_entries"`
		}](ctx, c, request{op: op, method: "GET", path: "/importErrors", query: v, again: true})
		return page[ImportError]{items: out.Errors, total: out.Total}, err
	})
}

// WaitDAG waits until the server runs this very declaration of d, after
// [WriteDAG] and before [Client.Trigger].
//
// If the server cannot read the file, the error matches [mlops.ErrInvalid] and
// holds an [*ImportError] that names it. When ctx ends, the error tells what
// the server knew last.
//
// Airflow REST: GET /api/v2/dags/{dag_id}, GET /api/v2/importErrors
func (c *Client) WaitDAG(ctx context.Context, d DAGSpec) (DAG, error) {
	return c.waitDAG(ctx, d, func() error { return nil })
}

// waitDAG is WaitDAG as long as still returns nil.
func (c *Client) waitDAG(ctx context.Context, d DAGSpec, still func() error) (DAG, error) {
	const op = "WaitDAG"
	want, file := d.Hash(), fileName(d.ID)
	var before time.Time // of the import error that was there last
	again := false       // one came since we did
	for first := true; ; first = false {
		dag, err := c.DAGs.Get(ctx, d.ID)
		known := "the server does not know the DAG"
		switch {
		case err == nil && dag.Hash() == want && !dag.Stale && !dag.HasImportErrors:
			return dag, nil
		case err == nil:
			known = fmt.Sprintf("the server has version %q of it", dag.Hash())
		case !isNotFound(err):
			return DAG{}, err
		}
		for ie, err := range c.importErrors(ctx, op, url.Values{"filename_pattern": {file}}) {
			if err != nil {
				return DAG{}, err
			}
			if path.Base(ie.File) != file {
				continue
			}
			if first {
				before = ie.Time
			}
			// Of this version if it says so; else if it was written twice
			// since we came. An error of the file's previous content stays
			// until the file is read again, and a reading that had begun
			// before we came may write it once more.
			ours := strings.Contains(ie.StackTrace, want)
			others := !ours && strings.Contains(ie.StackTrace, hashTag)
			newer := !others && ie.Time.After(before)
			if ours || newer && again {
				return DAG{}, &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: op, Cause: &ie}
			}
			if newer {
				before, again = ie.Time, true
			}
		}
		if err := still(); err != nil {
			return DAG{}, err
		}
		if err := c.wait(ctx); err != nil {
			return DAG{}, &mlops.Error{Service: service, Op: op, Cause: err,
				Message: fmt.Sprintf("DAG %s, version %q: %s: %v", d.ID, want, known, err)}
		}
	}
}
