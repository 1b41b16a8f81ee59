package airflow

import (
	"context"
	"iter"
	"net/url"
)

// VariableSpec is a setting for tasks.
type VariableSpec struct {
	Key         string `json:"key"`
	Value       any    `json:"value"` // anything that JSON can hold
	Description string `json:"description"`
}

// Variable is a variable as the server shows it. What Value holds as anything
// but a text comes back as JSON. It is hidden if Key sounds secret ("api_key").
type Variable struct {
	Key         string `json:"key"`
	Value       Masked `json:"value"`
	Description string `json:"description"`
	Encrypted   bool   `json:"is_encrypted"`
}

// All lists the variables by key.
//
// Airflow REST: GET /api/v2/variables
func (s VariablesService) All(ctx context.Context) iter.Seq2[Variable, error] {
	return list[Variable](ctx, s.c, "variables", request{op: "Variables.All", path: "/variables", query: url.Values{"order_by": {"key"}}})
}

// Get returns a variable. The error matches [mlops.ErrNotFound] if there is none.
//
// Airflow REST: GET /api/v2/variables/{variable_key}
func (s VariablesService) Get(ctx context.Context, key string) (Variable, error) {
	return get[Variable](ctx, s.c, "Variables.Get", "/variables/%s", key)
}

// Create makes a variable. The error matches [mlops.ErrAlreadyExists] if the key
// is taken.
//
// Airflow REST: POST /api/v2/variables (201)
func (s VariablesService) Create(ctx context.Context, spec VariableSpec) error {
	const op = "Variables.Create"
	if err := unmasked(op, "variable "+spec.Key, spec.Value); err != nil {
		return err
	}
	_, err := sendOnce[none](ctx, s.c, op, "POST", "/variables", spec)
	return err
}

// Set replaces a variable that exists, with its description.
//
// Airflow REST: PATCH /api/v2/variables/{variable_key}
func (s VariablesService) Set(ctx context.Context, spec VariableSpec) error {
	const op = "Variables.Set"
	if err := unmasked(op, "variable "+spec.Key, spec.Value); err != nil {
		return err
	}
	_, err := send[none](ctx, s.c, op, "PATCH", "/variables/%s", spec, spec.Key)
	return err
}

// SetAll writes variables in one request, new ones and existing ones.
//
// Airflow REST: PATCH /api/v2/variables (200 even if it fails)
func (s VariablesService) SetAll(ctx context.Context, specs []VariableSpec) (BulkResult, error) {
	const op = "Variables.SetAll"
	for _, spec := range specs {
		if err := unmasked(op, "variable "+spec.Key, spec.Value); err != nil {
			return BulkResult{}, err
		}
	}
	return s.c.bulk(ctx, op, "/variables", nil, true, bulkAction{Action: BulkActionCreate, Existing: "overwrite", Entities: specs})
}

// Delete removes a variable.
//
// Airflow REST: DELETE /api/v2/variables/{variable_key} (204)
func (s VariablesService) Delete(ctx context.Context, key string) error {
	return s.c.remove(ctx, request{op: "Variables.Delete", path: "/variables/%s", ids: []string{key}})
}

// DeleteAll removes variables in one request: all of them or, if one is not
// there, none.
//
// Airflow REST: PATCH /api/v2/variables (200 even if it fails)
func (s VariablesService) DeleteAll(ctx context.Context, keys []string) (BulkResult, error) {
	return s.c.bulk(ctx, "Variables.DeleteAll", "/variables", nil, false, bulkAction{Action: BulkActionDelete, Missing: "fail", Entities: keys})
}
