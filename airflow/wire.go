package airflow

import (
	"time"
)

// This file holds what Airflow's REST API v2 wants and gives where that is not
// simply the Go type. Airflow 2 (/api/v1) differs in just these places, and in
// login, error forms and log lines: see decodeError, login and LogLine.

// apiRoot is the path below which everything but the login lies.
const apiRoot = "/api/v2"

// pageLimit is the most that one page holds ([api] maximum_page_limit).
const pageLimit = 100

// triggerWire starts a run. Airflow 3 wants logical_date present, null where
// there is none, and refuses fields it does not know.
type triggerWire struct {
	LogicalDate *time.Time     `json:"logical_date"`
	RunID       string         `json:"dag_run_id"`
	Conf        map[string]any `json:"conf,omitempty"`
	Note        string         `json:"note,omitempty"`
}

// poolWire creates or changes a pool. A change needs the whole object even if
// the mask names one field.
type poolWire struct {
	Name            string `json:"name"`
	Slots           int    `json:"slots"`
	Description     string `json:"description"`
	IncludeDeferred bool   `json:"include_deferred"`
}

func (p Pool) wire() poolWire {
	return poolWire{p.Name, p.Slots, p.Description, p.IncludeDeferred}
}

// bulkWire is the answer to a bulk change: 200 even where all of it failed.
type bulkWire struct {
	Create *bulkPart `json:"create"`
	Update *bulkPart `json:"update"`
	Delete *bulkPart `json:"delete"`
}

type bulkPart struct {
	Success []string `json:"success"`
	Errors  []struct {
		Error      string `json:"error"`
		StatusCode int    `json:"status_code"`
	} `json:"errors"`
}

type healthWire struct {
	Metadatabase struct {
		Status string `json:"status"`
	} `json:"metadatabase"`
	Scheduler struct {
		Status string    `json:"status"`
		Beat   time.Time `json:"latest_scheduler_heartbeat"`
	} `json:"scheduler"`
	Triggerer struct {
		Status string    `json:"status"`
		Beat   time.Time `json:"latest_triggerer_heartbeat"`
	} `json:"triggerer"`
	DAGProcessor struct {
		Status string    `json:"status"`
		Beat   time.Time `json:"latest_dag_processor_heartbeat"`
	} `json:"dag_processor"`
}

func (w healthWire) health() Health {
	return Health{
		Metadatabase: Component{Status: w.Metadatabase.Status},
		Scheduler:    Component{w.Scheduler.Status, w.Scheduler.Beat},
		Triggerer:    Component{w.Triggerer.Status, w.Triggerer.Beat},
		DAGProcessor: Component{w.DAGProcessor.Status, w.DAGProcessor.Beat},
	}
}
