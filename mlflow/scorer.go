package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// Scorer is a version of a judge that is kept with an experiment.
type Scorer struct {
	ID           string // of the scorer, the same for all of its versions
	Name         string
	Version      int
	ExperimentID string
	Serialized   json.RawMessage // as Python's Scorer.model_dump writes it
	Created      time.Time
}

// UnmarshalJSON reads both of MLflow's forms of a scorer.
func (s *Scorer) UnmarshalJSON(b []byte) error {
	var w struct {
		ID         string          `json:"scorer_id"`
		Name       string          `json:"scorer_name"`
		NewName    string          `json:"name"`
		Version    int             `json:"scorer_version"`
		NewVersion int             `json:"version"`
		Experiment json.RawMessage `json:"experiment_id"` // a number or a text
		Serialized string          `json:"serialized_scorer"`
		Created    wireInt         `json:"creation_time"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*s = Scorer{ID: w.ID, Name: w.Name + w.NewName, Version: w.Version + w.NewVersion, Serialized: json.RawMessage(w.Serialized), Created: millis(w.Created)}
	s.ExperimentID = string(w.Experiment)
	if text, err := strconv.Unquote(s.ExperimentID); err == nil {
		s.ExperimentID = text
	}
	return nil
}

// Register makes the next version of a scorer. serialized is a scorer as
// Python's client writes it; the server refuses one that is Python code. An answer
// that got lost does not lead to a second version: a newer one than before, with
// these very contents, is the one that was made.
//
// MLflow REST: POST /api/3.0/mlflow/scorers/register
func (s ScorersService) Register(ctx context.Context, experiment, name string, serialized json.RawMessage) (Scorer, error) {
	before, err := s.newest(ctx, experiment, name)
	if err != nil && !errors.Is(err, mlops.ErrForbidden) { // one may register scorers and not read them
		return Scorer{}, err
	}
	return once(ctx, s.c, func() (Scorer, error) {
		return sendOnce3[Scorer](ctx, s.c, "Scorers.Register", "POST", "scorers/register",
			map[string]string{"experiment_id": experiment, "name": name, "serialized_scorer": string(serialized)})
	}, func() (Scorer, bool, error) {
		v, err := s.newest(ctx, experiment, name)
		return v, v.Version > before.Version && sameJSON(v.Serialized, serialized), err
	})
}

// newest returns the newest version of a scorer, version 0 if it has none.
func (s ScorersService) newest(ctx context.Context, experiment, name string) (Scorer, error) {
	var newest Scorer
	for v, err := range s.Versions(ctx, experiment, name) {
		if err != nil && !isNotFound(err) {
			return Scorer{}, err
		}
		if v.Version > newest.Version {
			newest = v
		}
	}
	return newest, nil
}

// sameJSON reports whether two texts are the same JSON.
func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func scorerQuery(experiment, name string, version int) url.Values {
	q := url.Values{"experiment_id": {experiment}, "name": {name}}
	if version > 0 {
		q.Set("version", strconv.Itoa(version))
	}
	return q
}

// Get returns a version of a scorer; version 0 is the newest.
//
// MLflow REST: GET /api/3.0/mlflow/scorers/get
func (s ScorersService) Get(ctx context.Context, experiment, name string, version int) (Scorer, error) {
	out, err := get3[struct{ Scorer Scorer }](ctx, s.c, "Scorers.Get", "scorers/get", scorerQuery(experiment, name, version))
	return out.Scorer, err
}

type scorersReply struct {
	Scorers []Scorer `json:"scorers"`
}

// All lists the newest version of each scorer of experiments, or of all
// experiments if none is named.
//
// MLflow REST: GET /api/3.0/mlflow/scorers/list
func (s ScorersService) All(ctx context.Context, experiments ...string) iter.Seq2[Scorer, error] {
	return pages(func(string) ([]Scorer, string, error) {
		q := url.Values{}
		if len(experiments) > 0 {
			q["experiment_ids"] = experiments
		}
		out, err := get3[scorersReply](ctx, s.c, "Scorers.All", "scorers/list", q)
		return out.Scorers, "", err
	})
}

// Versions lists all versions of a scorer.
//
// MLflow REST: GET /api/3.0/mlflow/scorers/versions
func (s ScorersService) Versions(ctx context.Context, experiment, name string) iter.Seq2[Scorer, error] {
	return pages(func(string) ([]Scorer, string, error) {
		out, err := get3[scorersReply](ctx, s.c, "Scorers.Versions", "scorers/versions", scorerQuery(experiment, name, 0))
		return out.Scorers, "", err
	})
}

// Delete deletes a version of a scorer; version 0 is all of them.
//
// MLflow REST: DELETE /api/3.0/mlflow/scorers/delete
func (s ScorersService) Delete(ctx context.Context, experiment, name string, version int) error {
	body := map[string]any{"experiment_id": experiment, "name": name}
	if version > 0 {
		body["version"] = version
	}
	return remove3(ctx, s.c, "Scorers.Delete", "scorers/delete", body)
}

// OnlineScoring says which share of an experiment's new traces a scorer judges.
type OnlineScoring struct {
	ID           string  `json:"online_scoring_config_id"`
	ScorerID     string  `json:"scorer_id"`
	ExperimentID string  `json:"experiment_id"`
	SampleRate   float64 `json:"sample_rate"`   // from 0, none, to 1, all
	Filter       string  `json:"filter_string"` // "trace.status = 'OK'"; empty: every trace
}

// SetOnline has a scorer judge a share of an experiment's new traces. The
// server does so only with job execution on, and needs a scorer whose model it
// can reach through its gateway.
//
// MLflow REST: PUT /api/3.0/mlflow/scorers/online-config
func (s ScorersService) SetOnline(ctx context.Context, experiment, name string, rate float64, filter string) (OnlineScoring, error) {
	body := map[string]any{"experiment_id": experiment, "name": name, "sample_rate": rate}
	if filter != "" {
		body["filter_string"] = filter
	}
	out, err := send3[struct{ Config OnlineScoring }](ctx, s.c, "Scorers.SetOnline", "PUT", "scorers/online-config", body)
	return out.Config, err
}

// Online lists what is set for scorers, by their IDs.
//
// MLflow REST: GET /api/3.0/mlflow/scorers/online-configs
func (s ScorersService) Online(ctx context.Context, scorerIDs ...string) iter.Seq2[OnlineScoring, error] {
	return chunks(scorerIDs, func(part []string) ([]OnlineScoring, error) {
		out, err := transport.Do[struct {
			Configs []OnlineScoring `json:"configs"`
		}](ctx, s.c.tracking(), transport.Call{Op: "Scorers.Online", Method: "GET", Path: api3 + "scorers/online-configs", Query: url.Values{"scorer_ids": part}, Idempotent: true})
		return out.Configs, err
	})
}
