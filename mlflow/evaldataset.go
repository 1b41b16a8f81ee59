package mlflow

import (
	"context"
	"encoding/json"
	"iter"
	"maps"
	"net/url"
	"time"

	"github.com/mlops-integration/mlops/internal/transport"
)

// EvalDataset is a set of inputs and what should come out of them, which the
// server keeps. Its records are read by [EvalDatasetsService.Records].
type EvalDataset struct {
	ID          string // "d-…"
	Name        string
	Digest      string // changes with the records
	Tags        map[string]string
	Experiments []string // IDs
	Schema      string   // JSON; may be empty
	Profile     string   // JSON, "{\"num_records\": 2}"; may be empty
	Created     time.Time
	Updated     time.Time
	CreatedBy   string
	UpdatedBy   string
}

// UnmarshalJSON reads MLflow's form of an evaluation dataset.
func (d *EvalDataset) UnmarshalJSON(b []byte) error {
	var w struct {
		ID          string   `json:"dataset_id"`
		Name        string   `json:"name"`
		Digest      string   `json:"digest"`
		Tags        string   `json:"tags"` // JSON in a text
		Experiments []string `json:"experiment_ids"`
		Schema      string   `json:"schema"`
		Profile     string   `json:"profile"`
		Created     wireInt  `json:"created_time"`
		Updated     wireInt  `json:"last_update_time"`
		CreatedBy   string   `json:"created_by"`
		UpdatedBy   string   `json:"last_updated_by"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*d = EvalDataset{ID: w.ID, Name: w.Name, Digest: w.Digest, Experiments: w.Experiments, Schema: w.Schema, Profile: w.Profile,
		Created: millis(w.Created), Updated: millis(w.Updated), CreatedBy: w.CreatedBy, UpdatedBy: w.UpdatedBy}
	if w.Tags == "" {
		return nil
	}
	return json.Unmarshal([]byte(w.Tags), &d.Tags)
}

type evalReply struct {
	Dataset EvalDataset `json:"dataset"`
}

// EvalDatasetOptions are what a new evaluation dataset may have besides its name.
type EvalDatasetOptions struct {
	Experiments []string // IDs
	Tags        map[string]string
}

// evalTag is where an evaluation dataset's client-made ID is kept.
const evalTag = "mlops.dataset_uid"

// Create makes an empty evaluation dataset. Names need not be unique.
// An answer that got lost does not lead to a second one: each carries a
// client-made ID as a tag.
//
// MLflow REST: POST /api/3.0/mlflow/datasets/create
func (s EvalDatasetsService) Create(ctx context.Context, name string, opt EvalDatasetOptions) (EvalDataset, error) {
	body := struct {
		Name        string   `json:"name"`
		Experiments []string `json:"experiment_ids,omitempty"`
		Tags        string   `json:"tags,omitempty"`
	}{Name: name, Experiments: opt.Experiments}
	uid := newUID()
	tags := map[string]string{}
	maps.Copy(tags, opt.Tags)
	tags[evalTag] = uid // not that of a dataset whose tags were copied
	b, err := json.Marshal(tags)
	if err != nil {
		return EvalDataset{}, err
	}
	body.Tags = string(b)
	return once(ctx, s.c, func() (EvalDataset, error) {
		out, err := sendOnce3[evalReply](ctx, s.c, "EvalDatasets.Create", "POST", "datasets/create", body)
		return out.Dataset, err
	}, func() (EvalDataset, bool, error) {
		return firstOf(s.All(ctx, EvalDatasetQuery{Experiments: opt.Experiments}), func(d EvalDataset) bool { return d.Tags[evalTag] == uid })
	})
}

func evalPath(id string, more string) string { return "datasets/" + url.PathEscape(id) + more }

// Get returns an evaluation dataset without its records.
//
// MLflow REST: GET /api/3.0/mlflow/datasets/{dataset_id}
func (s EvalDatasetsService) Get(ctx context.Context, id string) (EvalDataset, error) {
	out, err := get3[evalReply](ctx, s.c, "EvalDatasets.Get", evalPath(id, ""), nil)
	return out.Dataset, err
}

// EvalDatasetQuery selects evaluation datasets. The zero value selects all.
type EvalDatasetQuery struct {
	Experiments []string // IDs
	Filter      string   // "name LIKE 'wine%' AND tags.stage = 'test'"
	OrderBy     []string // "name", "created_time DESC"
}

// All lists the evaluation datasets that q selects.
//
// MLflow REST: POST /api/3.0/mlflow/datasets/search
func (s EvalDatasetsService) All(ctx context.Context, q EvalDatasetQuery) iter.Seq2[EvalDataset, error] {
	body := struct {
		Experiments []string `json:"experiment_ids,omitempty"`
		Filter      string   `json:"filter_string,omitempty"`
		OrderBy     []string `json:"order_by,omitempty"`
		MaxResults  int      `json:"max_results"`
		PageToken   string   `json:"page_token,omitempty"`
	}{Experiments: q.Experiments, Filter: q.Filter, OrderBy: q.OrderBy, MaxResults: 100}
	return pages(func(token string) ([]EvalDataset, string, error) {
		body := body
		body.PageToken = token
		out, err := send3[struct {
			Datasets []EvalDataset `json:"datasets"`
			Next     string        `json:"next_page_token"`
		}](ctx, s.c, "EvalDatasets.All", "POST", "datasets/search", body)
		return out.Datasets, out.Next, err
	})
}

// Delete deletes an evaluation dataset and its records, for good.
//
// MLflow REST: DELETE /api/3.0/mlflow/datasets/{dataset_id}
func (s EvalDatasetsService) Delete(ctx context.Context, id string) error {
	return remove3(ctx, s.c, "EvalDatasets.Delete", evalPath(id, ""), nil)
}

// EvalRecord is one case of an evaluation dataset.
type EvalRecord struct {
	ID           string            `json:"dataset_record_id,omitempty"` // "dr-…", made by the server
	Inputs       map[string]any    `json:"inputs"`
	Outputs      any               `json:"outputs,omitempty"`
	Expectations map[string]any    `json:"expectations,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Source       *EvalSource       `json:"source,omitempty"` // nil: unknown
	Created      time.Time         `json:"-"`
	Updated      time.Time         `json:"-"`
}

// EvalSource is where a record comes from.
type EvalSource struct {
	Type string         `json:"source_type"` // "HUMAN", "TRACE", "DOCUMENT", "CODE"
	Data map[string]any `json:"source_data,omitempty"`
}

// UnmarshalJSON reads MLflow's form of a record.
func (r *EvalRecord) UnmarshalJSON(b []byte) error {
	type plain EvalRecord
	w := struct {
		*plain
		Source  json.RawMessage `json:"source"`
		Created wireInt         `json:"created_time"`
		Updated wireInt         `json:"last_update_time"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	r.Created, r.Updated = millis(w.Created), millis(w.Updated)
	if r.Source = nil; len(w.Source) == 0 || string(w.Source) == "null" {
		return nil
	}
	var s struct {
		Type string          `json:"source_type"`
		Data json.RawMessage `json:"source_data"` // an object, or one in a text
	}
	if err := json.Unmarshal(w.Source, &s); err != nil {
		return err
	}
	r.Source = &EvalSource{Type: s.Type}
	var text string
	if json.Unmarshal(s.Data, &text) == nil {
		s.Data = json.RawMessage(text)
	}
	if len(s.Data) == 0 {
		return nil
	}
	return json.Unmarshal(s.Data, &r.Source.Data)
}

// EvalUpsert counts what [EvalDatasetsService.UpsertRecords] did.
type EvalUpsert struct {
	Inserted int `json:"inserted_count"`
	Updated  int `json:"updated_count"`
}

// UpsertRecords writes records. One with the inputs of a record that is
// there changes that record: expectations, outputs and tags are added to it.
//
// MLflow REST: POST /api/3.0/mlflow/datasets/{dataset_id}/records
func (s EvalDatasetsService) UpsertRecords(ctx context.Context, id string, records ...EvalRecord) (EvalUpsert, error) {
	b, err := json.Marshal(records)
	if err != nil {
		return EvalUpsert{}, invalid("EvalDatasets.UpsertRecords", "the records cannot be written as JSON: %v", err)
	}
	return send3[EvalUpsert](ctx, s.c, "EvalDatasets.UpsertRecords", "POST", evalPath(id, "/records"), map[string]string{"records": string(b)})
}

// Records lists the records of an evaluation dataset.
//
// MLflow REST: GET /api/3.0/mlflow/datasets/{dataset_id}/records
func (s EvalDatasetsService) Records(ctx context.Context, id string) iter.Seq2[EvalRecord, error] {
	return pages(func(token string) ([]EvalRecord, string, error) {
		out, err := get3[struct {
			Records string `json:"records"` // JSON in a text
			Next    string `json:"next_page_token"`
		}](ctx, s.c, "EvalDatasets.Records", evalPath(id, "/records"), page(url.Values{"max_results": {"1000"}}, token))
		if err != nil {
			return nil, "", err
		}
		var list []EvalRecord
		if err := json.Unmarshal([]byte(out.Records), &list); out.Records != "" && err != nil {
			return nil, "", invalid("EvalDatasets.Records", "the server's records are not JSON: %v", err)
		}
		return list, out.Next, nil
	})
}

// DeleteRecords deletes records by their IDs and returns how many there
// were.
//
// MLflow REST: DELETE /api/3.0/mlflow/datasets/{dataset_id}/records
func (s EvalDatasetsService) DeleteRecords(ctx context.Context, id string, recordIDs ...string) (int, error) {
	out, err := send3[struct {
		Deleted int `json:"deleted_count"`
	}](ctx, s.c, "EvalDatasets.DeleteRecords", "DELETE", evalPath(id, "/records"), map[string]any{"dataset_record_ids": recordIDs})
	return out.Deleted, err
}

// AddTo shows an evaluation dataset with further experiments.
//
// MLflow REST: POST /api/3.0/mlflow/datasets/{dataset_id}/add-experiments
func (s EvalDatasetsService) AddTo(ctx context.Context, id string, experiments ...string) error {
	_, err := send3[transport.None](ctx, s.c, "EvalDatasets.AddTo", "POST", evalPath(id, "/add-experiments"), map[string]any{"experiment_ids": experiments})
	return err
}

// RemoveFrom takes an evaluation dataset out of experiments.
//
// MLflow REST: POST /api/3.0/mlflow/datasets/{dataset_id}/remove-experiments
func (s EvalDatasetsService) RemoveFrom(ctx context.Context, id string, experiments ...string) error {
	_, err := send3[transport.None](ctx, s.c, "EvalDatasets.RemoveFrom", "POST", evalPath(id, "/remove-experiments"), map[string]any{"experiment_ids": experiments})
	return err
}

// Experiments returns the IDs of the experiments that an evaluation
// dataset is shown with.
//
// MLflow REST: GET /api/3.0/mlflow/datasets/{dataset_id}/experiment-ids
func (s EvalDatasetsService) Experiments(ctx context.Context, id string) ([]string, error) {
	out, err := get3[struct {
		IDs []string `json:"experiment_ids"`
	}](ctx, s.c, "EvalDatasets.Experiments", evalPath(id, "/experiment-ids"), nil)
	return out.IDs, err
}

// SetTags sets tags of an evaluation dataset.
//
// MLflow REST: PATCH /api/3.0/mlflow/datasets/{dataset_id}/tags
func (s EvalDatasetsService) SetTags(ctx context.Context, id string, tags map[string]string) error {
	b, err := json.Marshal(tags)
	if err != nil {
		return err
	}
	_, err = send3[transport.None](ctx, s.c, "EvalDatasets.SetTags", "PATCH", evalPath(id, "/tags"), map[string]string{"tags": string(b)})
	return err
}

// DeleteTag removes one tag of an evaluation dataset; there being
// none is no error.
//
// MLflow REST: DELETE /api/3.0/mlflow/datasets/{dataset_id}/tags/{key}
func (s EvalDatasetsService) DeleteTag(ctx context.Context, id, key string) error {
	return remove3(ctx, s.c, "EvalDatasets.DeleteTag", evalPath(id, "/tags/"+url.PathEscape(key)), nil)
}
