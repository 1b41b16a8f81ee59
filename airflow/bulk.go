package airflow

import (
	"context"
	"fmt"
	"strings"

	"github.com/mlops-integration/mlops"
)

// BulkAction is what a bulk request does with its things.
type BulkAction string

// The actions of bulk requests.
const (
	BulkActionCreate BulkAction = "create"
	BulkActionUpdate BulkAction = "update"
	BulkActionDelete BulkAction = "delete"
)

// BulkResult names what a bulk request did.
type BulkResult struct {
	Created, Updated, Deleted []string
}

// BulkError is a bulk request of which the server refused a part, although it
// answered 200. Find it with [errors.AsType].
type BulkError struct {
	Failed []BulkFailure
}

// BulkFailure is one thing that the server refused.
type BulkFailure struct {
	Action  BulkAction
	Status  int    // as of a request for this thing alone
	Message string // the server's words, which name the thing
}

// Error names each part that failed.
func (e *BulkError) Error() string {
	var parts []string
	for _, f := range e.Failed {
		parts = append(parts, fmt.Sprintf("%s: %s", f.Action, f.Message))
	}
	return strings.Join(parts, "; ")
}

// Unwrap returns the kind of each part.
func (e *BulkError) Unwrap() (kinds []error) {
	for _, f := range e.Failed {
		kinds = append(kinds, f.kind())
	}
	return kinds
}

func (f BulkFailure) kind() error {
	if kind := kindOfText(f.Status, f.Message); kind != nil {
		return kind
	}
	return mlops.KindOfStatus(f.Status)
}

// bulkAction is one action of a bulk request.
type bulkAction struct {
	Action   BulkAction `json:"action"`
	Existing string     `json:"action_on_existence,omitempty"`     // "fail", "skip", "overwrite"
	Missing  string     `json:"action_on_non_existence,omitempty"` // "fail", "skip"
	Entities any        `json:"entities"`
}

// bulk sends actions in one request. With the options "fail" an action is done
// for all of its things or for none.
func (c *Client) bulk(ctx context.Context, op, path string, ids []string, again bool, actions ...bulkAction) (BulkResult, error) {
	out, err := do[bulkWire](ctx, c, request{op: op, method: "PATCH", path: path, ids: ids, again: again, body: map[string]any{"actions": actions}})
	if err != nil {
		return BulkResult{}, err
	}
	return out.result(op)
}

// result is what a bulk answer with status 200 says was done, and what not.
func (w bulkWire) result(op string) (BulkResult, error) {
	var done BulkResult
	failed := &BulkError{}
	for _, part := range []struct {
		action BulkAction
		*bulkPart
		names *[]string
	}{{BulkActionCreate, w.Create, &done.Created}, {BulkActionUpdate, w.Update, &done.Updated}, {BulkActionDelete, w.Delete, &done.Deleted}} {
		if part.bulkPart == nil {
			continue
		}
		*part.names = part.Success
		for _, x := range part.Errors {
			failed.Failed = append(failed.Failed, BulkFailure{part.action, x.StatusCode, x.Error})
		}
	}
	if len(failed.Failed) == 0 {
		return done, nil
	}
	first := failed.Failed[0]
	return done, &mlops.Error{Kind: first.kind(), Status: first.Status, Service: service, Op: op, Cause: failed}
}
