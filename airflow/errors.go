package airflow

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/mlops-integration/mlops"
)

// decodeError reads the forms in which Airflow 3.3 tells errors:
//
//	{"detail": "text"}
//	{"detail": [{"type": "missing", "loc": ["body", "slots"], "msg": "Field required"}]}   422
//	{"detail": {"reason": "Unique constraint violation", "message": "…"}}                  409, and 500 "Database error"
//	{"error": "API route not found"}                                                       404: the path, not the thing
//	Internal Server Error                                                                  500, text/plain
//
// It returns nil for anything else, the last form included: the status says it all.
func decodeError(status int, _ string, body []byte) *mlops.Error {
	var env struct {
		Detail json.RawMessage `json:"detail"`
		Error  string          `json:"error"`
	}
	if json.Unmarshal(body, &env) != nil {
		return nil
	}
	if env.Error != "" {
		return &mlops.Error{Kind: kindOfRoute(status), Message: env.Error}
	}
	var text string
	if json.Unmarshal(env.Detail, &text) == nil && text != "" {
		return &mlops.Error{Kind: kindOfText(status, text), Message: text}
	}
	var fields []struct {
		Type string `json:"type"`
		Loc  []any  `json:"loc"`
		Msg  string `json:"msg"`
	}
	if json.Unmarshal(env.Detail, &fields) == nil && len(fields) > 0 {
		var msgs []string
		for _, f := range fields {
			var at []string
			for _, l := range f.Loc {
				at = append(at, fmt.Sprint(l))
			}
			msgs = append(msgs, strings.TrimPrefix(strings.Join(at, ".")+": "+f.Msg, ": "))
		}
		if strings.Join(msgs, "") == "" {
			return nil
		}
		return &mlops.Error{Message: strings.Join(msgs, "; "), Code: fields[0].Type}
	}
	var db struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	}
	if json.Unmarshal(env.Detail, &db) == nil && db.Reason != "" {
		e := &mlops.Error{Message: db.Message, Code: db.Reason}
		if status == http.StatusConflict && strings.Contains(db.Reason, "Unique constraint") {
			e.Kind = mlops.ErrAlreadyExists
			e.Message = "the name or ID is taken: " + db.Message
		}
		return e
	}
	return nil
}

// kindOfRoute is for a path that the server does not know: what is missing is
// the operation, not the thing it is about.
func kindOfRoute(status int) error {
	if status == http.StatusNotFound {
		return mlops.ErrUnsupported
	}
	return nil
}

// kindOfText tells by the words what the status alone does not: a token that
// is damaged or of another server is answered 403, like a missing role.
func kindOfText(status int, text string) error {
	switch {
	case status == http.StatusForbidden && strings.Contains(text, "Invalid JWT token"):
		return mlops.ErrUnauthenticated
	case status == http.StatusConflict && strings.Contains(text, "already exist"):
		return mlops.ErrAlreadyExists
	}
	return nil
}

// RunError is a DAG run that did not succeed. [Client.Wait] returns it within
// a [mlops.Error]; find it with [errors.AsType].
type RunError struct {
	Run    DAGRun
	Failed []TaskInstance // the tasks that failed themselves, not those after them
}

// Error names the run and the tasks that failed.
func (e *RunError) Error() string {
	s := fmt.Sprintf("run %s of DAG %s ended %s", e.Run.ID, e.Run.DAGID, e.Run.State)
	var names []string
	for _, ti := range e.Failed {
		n := ti.TaskID
		if ti.MapIndex >= 0 {
			n += fmt.Sprintf("[%d]", ti.MapIndex)
		}
		if ti.Try > 1 {
			n += fmt.Sprintf(" (try %d)", ti.Try)
		}
		names = append(names, n)
	}
	slices.Sort(names)
	switch len(names) {
	case 0:
		return s
	case 1:
		return s + ": task " + names[0] + " failed"
	}
	return s + ": tasks " + strings.Join(names, ", ") + " failed"
}
