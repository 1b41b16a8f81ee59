package airflow

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"time"
)

// ConfigOption is a setting of the server.
type ConfigOption struct {
	Section string
	Key     string
	Value   Masked
}

// Config returns the server's configuration, or one section of it. The error
// matches [mlops.ErrForbidden] unless the server's api.expose_config allows it.
//
// Airflow REST: GET /api/v2/config
func (s ServerService) Config(ctx context.Context, section string) ([]ConfigOption, error) {
	v := url.Values{}
	setText(v, "section", section)
	return configOf(do[configWire](ctx, s.c, request{op: "Server.Config", method: "GET", path: "/config", query: v, accept: "application/json", again: true}))
}

// ConfigValue returns one setting of the server.
//
// Airflow REST: GET /api/v2/config/section/{section}/option/{option}
func (s ServerService) ConfigValue(ctx context.Context, section, option string) (Masked, error) {
	all, err := configOf(do[configWire](ctx, s.c, request{op: "Server.ConfigValue", method: "GET", path: "/config/section/%s/option/%s", ids: []string{section, option}, accept: "application/json", again: true}))
	if err != nil || len(all) == 0 {
		return Masked{}, err
	}
	return all[0].Value, nil
}

type configWire struct {
	Sections []struct {
		Name    string `json:"name"`
		Options []struct {
			Key   string          `json:"key"`
			Value json.RawMessage `json:"value"`
		} `json:"options"`
	} `json:"sections"`
}

func configOf(w configWire, err error) ([]ConfigOption, error) {
	var out []ConfigOption
	for _, section := range w.Sections {
		for _, o := range section.Options {
			c := ConfigOption{Section: section.Name, Key: o.Key}
			var origin []string // value and where it is from
			if json.Unmarshal(o.Value, &origin) == nil && len(origin) > 0 {
				o.Value, _ = json.Marshal(origin[0])
			}
			if err := json.Unmarshal(o.Value, &c.Value); err != nil {
				return out, err
			}
			out = append(out, c)
		}
	}
	return out, err
}

// Job is a process of Airflow: a scheduler, a triggerer, a dag-processor.
type Job struct {
	ID        int64     `json:"id"`
	Type      string    `json:"job_type"` // "SchedulerJob", …
	State     State     `json:"state"`
	Host      string    `json:"hostname"`
	Executor  string    `json:"executor_class"`
	Heartbeat time.Time `json:"latest_heartbeat"`
	Start     time.Time `json:"start_date"`
	End       time.Time `json:"end_date"`
}

// JobQuery selects jobs; its zero value selects all that ever were.
type JobQuery struct {
	Type  string
	State State
	Alive bool // with a heartbeat of late
}

// Jobs lists the processes of Airflow, the newest first.
//
// Airflow REST: GET /api/v2/jobs
func (s ServerService) Jobs(ctx context.Context, q JobQuery) iter.Seq2[Job, error] {
	v := url.Values{"order_by": {"-id"}}
	setText(v, "job_type", q.Type)
	setText(v, "job_state", string(q.State))
	if q.Alive {
		v.Set("is_alive", "true")
	}
	return list[Job](ctx, s.c, "jobs", request{op: "Server.Jobs", path: "/jobs", query: v})
}

// Event is an entry of the server's log: who did what.
type Event struct {
	ID     int64     `json:"event_log_id"`
	Time   time.Time `json:"when"`
	Event  string    `json:"event"` // "trigger_dag_run", "patch_dag", …
	Owner  string    `json:"owner"`
	DAGID  string    `json:"dag_id"`
	RunID  string    `json:"run_id"`
	TaskID string    `json:"task_id"`
	Extra  string    `json:"extra"` // JSON
}

// EventQuery selects events; its zero value selects all.
type EventQuery struct {
	DAGID, RunID, TaskID string
	Owner                string
	Events               []string // any of them
	After, Before        time.Time
}

// Events lists what was done, the newest first.
//
// Airflow REST: GET /api/v2/eventLogs
func (s ServerService) Events(ctx context.Context, q EventQuery) iter.Seq2[Event, error] {
	v := url.Values{"order_by": {"-event_log_id"}}
	setText(v, "dag_id", q.DAGID)
	setText(v, "run_id", q.RunID)
	setText(v, "task_id", q.TaskID)
	setText(v, "owner", q.Owner)
	setTime(v, "after", q.After)
	setTime(v, "before", q.Before)
	if len(q.Events) > 0 {
		v["included_events"] = q.Events
	}
	return list[Event](ctx, s.c, "event_logs", request{op: "Server.Events", path: "/eventLogs", query: v})
}

// Event returns an entry of the server's log.
//
// Airflow REST: GET /api/v2/eventLogs/{event_log_id}
func (s ServerService) Event(ctx context.Context, id int64) (Event, error) {
	return get[Event](ctx, s.c, "Server.Event", "/eventLogs/%s", itoa(id))
}

// Plugin is an extension of the server.
type Plugin struct {
	Name      string   `json:"name"`
	Source    string   `json:"source"`
	Macros    []string `json:"macros"`
	Listeners []string `json:"listeners"`
}

// Plugins lists the extensions of the server.
//
// Airflow REST: GET /api/v2/plugins
func (s ServerService) Plugins(ctx context.Context) iter.Seq2[Plugin, error] {
	return list[Plugin](ctx, s.c, "plugins", request{op: "Server.Plugins", path: "/plugins"})
}

// PluginError is an extension that the server could not load.
type PluginError struct {
	Source string `json:"source"`
	Text   string `json:"error"`
}

// PluginErrors returns the extensions that the server could not load.
//
// Airflow REST: GET /api/v2/plugins/importErrors
func (s ServerService) PluginErrors(ctx context.Context) ([]PluginError, error) {
	out, err := get[struct {
		Errors []PluginError `json:"import_errors"`
	}](ctx, s.c, "Server.PluginErrors", "/plugins/importErrors")
	return out.Errors, err
}

// Provider is a package of operators and hooks that the server has.
type Provider struct {
	Package     string `json:"package_name"`
	Version     string `json:"version"`
	Description string `json:"description"`
}

// Providers lists the packages of operators and hooks.
//
// Airflow REST: GET /api/v2/providers
func (s ServerService) Providers(ctx context.Context) iter.Seq2[Provider, error] {
	return list[Provider](ctx, s.c, "providers", request{op: "Server.Providers", path: "/providers"})
}
