package airflow

import (
	"time"
)

// DAGSpec declares a DAG. [Client.Declare] makes it run, [WriteDAG] makes it a
// file that Airflow reads, [ReadSpec] reads it from YAML.
type DAGSpec struct {
	ID          string `json:"id" yaml:"id"`                               // letters, digits, dashes, dots and underscores
	Project     string `json:"project,omitempty" yaml:"project,omitempty"` // whose DAG it is: no other project can replace or remove it; may be empty
	Description string `json:"description,omitempty" yaml:"description,omitempty"`

	// Schedule is cron, or "@daily" and its kin, in TimeZone; Every is an interval.
	// There is at most one of them; without both, and without Assets, the DAG is
	// triggered only.
	Schedule string        `json:"schedule,omitempty" yaml:"schedule,omitempty"`
	Every    time.Duration `json:"every,omitempty" yaml:"every,omitempty"`
	TimeZone string        `json:"time_zone,omitempty" yaml:"time_zone,omitempty"` // of the IANA database; empty: UTC
	Start    time.Time     `json:"start,omitzero" yaml:"start,omitempty"`          // the first time that Schedule or Every counts from; required with them
	Catchup  bool          `json:"catchup,omitempty" yaml:"catchup,omitempty"`     // run what has passed since Start
	Assets   *AssetRule    `json:"assets,omitempty" yaml:"assets,omitempty"`       // nil: none; beside Schedule: either starts a run

	Tags           []string      `json:"tags,omitempty" yaml:"tags,omitempty"`
	Pool           string        `json:"pool,omitempty" yaml:"pool,omitempty"`                         // of all tasks that name none; empty: default_pool
	MaxActiveRuns  int           `json:"max_active_runs,omitempty" yaml:"max_active_runs,omitempty"`   // 0: the server's default, 16
	MaxActiveTasks int           `json:"max_active_tasks,omitempty" yaml:"max_active_tasks,omitempty"` // of one run; 0: the server's default, 16
	Timeout        time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`                   // of a run, which fails then; 0: none
	Paused         bool          `json:"paused,omitempty" yaml:"paused,omitempty"`                     // a new DAG begins paused; later use Pause and Unpause
	Params         Params        `json:"params,omitempty" yaml:"params,omitempty"`                     // what conf may hold
	On             Callbacks     `json:"on,omitzero" yaml:"on,omitempty"`                              // of a run; Retry is of tasks only
	Deadline       *Deadline     `json:"deadline,omitempty" yaml:"deadline,omitempty"`                 // nil: none
	DefaultArgs    DefaultArgs   `json:"default_args,omitzero" yaml:"default_args,omitempty"`
	Tasks          []TaskSpec    `json:"tasks" yaml:"tasks"`
}

// DefaultArgs hold for every task that does not say otherwise.
type DefaultArgs struct {
	Owner      string            `json:"owner,omitempty" yaml:"owner,omitempty"` // shown in the list of DAGs; empty: "airflow"
	Retries    int               `json:"retries,omitempty" yaml:"retries,omitempty"`
	RetryDelay time.Duration     `json:"retry_delay,omitempty" yaml:"retry_delay,omitempty"` // 0: Airflow's default, 5 min
	Timeout    time.Duration     `json:"timeout,omitempty" yaml:"timeout,omitempty"`         // 0: none
	Env        map[string]string `json:"env,omitempty" yaml:"env,omitempty"`                 // see [TaskSpec]
	Dir        string            `json:"dir,omitempty" yaml:"dir,omitempty"`
}

// TaskSpec declares a task: one of Bash, Python, Go, Wait and Decision.
//
// The first three run a program. It sees the environment of Airflow's worker,
// Env, Inputs, and
//
//	MLOPS_DAG_ID MLOPS_RUN_ID MLOPS_TASK_ID MLOPS_TRY MLOPS_MAP_INDEX
//	MLOPS_CONF_FILE    the conf of the run, with the defaults of Params, as JSON
//	MLOPS_INPUTS_FILE  Inputs as JSON
//	MLOPS_ITEM_FILE    the item of Each or EachOf as JSON
//	MLOPS_RETURN_FILE  empty; what is written into it, as JSON, becomes the XCom
//	MLOPS_CONF_JSON    the conf as text, and MLOPS_ITEM the item
//
// The files are removed after the task. A text above 64 KiB stands in its file
// only and its variable is empty: Linux takes none above 128. Exit status 99
// marks the task as skipped, any other but 0 as failed. If it writes nothing into
// MLOPS_RETURN_FILE, its last line on stdout is the XCom.
//
// Airflow's templates ({{ … }}) are expanded nowhere.
type TaskSpec struct {
	ID string `json:"id" yaml:"id"`

	// Bash is run by "bash -c", exactly as it is written. Begin it with "set -e"
	// if each line must succeed.
	Bash     string        `json:"bash,omitempty" yaml:"bash,omitempty"`
	Python   *PythonTask   `json:"python,omitempty" yaml:"python,omitempty"`
	Go       *GoTask       `json:"go,omitempty" yaml:"go,omitempty"`
	Wait     *WaitFor      `json:"wait,omitempty" yaml:"wait,omitempty"`
	Decision *DecisionSpec `json:"decision,omitempty" yaml:"decision,omitempty"`

	// Env is added to the environment. It is written into the DAG file, which
	// others may read and Airflow shows: never put a secret here.
	Env map[string]string `json:"env,omitempty" yaml:"env,omitempty"`

	// Inputs are variables that hold what other tasks returned: texts as they
	// are, all else as JSON, a list for a task with Each. The task runs after them.
	Inputs map[string]string `json:"inputs,omitempty" yaml:"inputs,omitempty"` // variable: ID of the task

	// Each, or EachOf, runs the task once for every item of a list: this one, or
	// the one that another task returned.
	Each   []any  `json:"each,omitempty" yaml:"each,omitempty"`
	EachOf string `json:"each_of,omitempty" yaml:"each_of,omitempty"` // ID of the task

	After       []string    `json:"after,omitempty" yaml:"after,omitempty"`               // IDs of tasks, or groups, that go before it
	TriggerRule TriggerRule `json:"trigger_rule,omitempty" yaml:"trigger_rule,omitempty"` // empty: all of them have succeeded
	Role        Role        `json:"role,omitempty" yaml:"role,omitempty"`                 // empty: a plain task

	// Group is the box in which Airflow's page shows it; b in a is "a.b", shown as a__b.
	Group string `json:"group,omitempty" yaml:"group,omitempty"`

	Retries       int           `json:"retries,omitempty" yaml:"retries,omitempty"`                 // 0: DefaultArgs.Retries; negative: none
	RetryDelay    time.Duration `json:"retry_delay,omitempty" yaml:"retry_delay,omitempty"`         // 0: DefaultArgs.RetryDelay
	RetryBackoff  float64       `json:"retry_backoff,omitempty" yaml:"retry_backoff,omitempty"`     // how many times longer each delay is than the last; 0: as long
	MaxRetryDelay time.Duration `json:"max_retry_delay,omitempty" yaml:"max_retry_delay,omitempty"` // 0: Airflow's, 24 h
	Timeout       time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`                 // 0: DefaultArgs.Timeout; negative: none; for Wait and Decision see there
	Pool          string        `json:"pool,omitempty" yaml:"pool,omitempty"`                       // empty: DAGSpec.Pool
	PoolSlots     int           `json:"pool_slots,omitempty" yaml:"pool_slots,omitempty"`           // 0: 1
	MaxActive     int           `json:"max_active,omitempty" yaml:"max_active,omitempty"`           // items at once; 0: all
	Dir           string        `json:"dir,omitempty" yaml:"dir,omitempty"`                         // absolute; empty: DefaultArgs.Dir, or else a scratch folder of the task
	Outlets       []AssetSpec   `json:"outlets,omitempty" yaml:"outlets,omitempty"`                 // its success is an event of them
	On            Callbacks     `json:"on,omitzero" yaml:"on,omitempty"`
}

// PythonTask is a program in Python.
type PythonTask struct {
	File        string   `json:"file,omitempty" yaml:"file,omitempty"`               // relative to the task's Dir
	Module      string   `json:"module,omitempty" yaml:"module,omitempty"`           // instead of File, as for python -m
	Interpreter string   `json:"interpreter,omitempty" yaml:"interpreter,omitempty"` // the project's own; empty: python3
	Args        []string `json:"args,omitempty" yaml:"args,omitempty"`
}

// GoTask is a function of a Go program that package gotask calls. The program
// is called as "<program> task <task>".
type GoTask struct {
	Program string `json:"program" yaml:"program"` // absolute, or found in the worker's PATH
	Task    string `json:"task" yaml:"task"`
}

// WaitFor is what a task waits for, one of the first five. It takes no worker
// meanwhile. It has at least two retries, because Airflow 3.3.2 fails tasks that
// have waited very shortly (apache/airflow#72716); each try waits by itself.
type WaitFor struct {
	Until time.Time     `json:"until,omitzero" yaml:"until,omitempty"`
	For   time.Duration `json:"for,omitempty" yaml:"for,omitempty"`
	File  string        `json:"file,omitempty" yaml:"file,omitempty"`   // absolute; may have * in it; a folder has to hold a file
	Asset *AssetSpec    `json:"asset,omitempty" yaml:"asset,omitempty"` // an event of it since the run was due
	Task  *TaskOf       `json:"task,omitempty" yaml:"task,omitempty"`   // the success of it; if it fails or is skipped, so does the wait

	Every   time.Duration `json:"every,omitempty" yaml:"every,omitempty"`     // how often it looks; 0: 1 min
	Timeout time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"` // 0: none, 7 days for an asset
}

// TaskOf names a task of another DAG, or a whole run of it: of the same logical
// date as the run that waits.
type TaskOf struct {
	DAG  string `json:"dag" yaml:"dag"`                       // the full ID
	Task string `json:"task,omitempty" yaml:"task,omitempty"` // empty: the run
}

// DecisionSpec asks a person; see [Client] Decisions. It takes no worker
// meanwhile and has at least two retries, as [WaitFor] has.
type DecisionSpec struct {
	Subject  string            `json:"subject" yaml:"subject"`
	Body     string            `json:"body,omitempty" yaml:"body,omitempty"`       // Markdown
	Options  []string          `json:"options,omitempty" yaml:"options,omitempty"` // empty: Approve, and Reject, which skips the tasks after it
	Defaults []string          `json:"defaults,omitempty" yaml:"defaults,omitempty"`
	Multiple bool              `json:"multiple,omitempty" yaml:"multiple,omitempty"`
	Next     map[string]string `json:"next,omitempty" yaml:"next,omitempty"`       // option: the task that it lets run; the others after it are skipped
	Timeout  time.Duration     `json:"timeout,omitempty" yaml:"timeout,omitempty"` // then Defaults hold, or it fails; 0: none
}

// Role is what a task is to those after it.
type Role string

const (
	// RoleBranch lets the tasks run that it names in its value (an ID, a JSON list,
	// words), and skips the others that follow it.
	RoleBranch Role = "branch"
	// RoleShortCircuit skips all that follows if its value is empty, false, 0, no,
	// none or null.
	RoleShortCircuit Role = "short_circuit"
	RoleSetup        Role = "setup"
	RoleTeardown     Role = "teardown" // runs after its setup, which After names, whatever failed between
)

// TriggerRule is when a task runs, by the tasks before it.
type TriggerRule string

// The rules of Airflow 3.3.
const (
	TriggerRuleAllSuccess              TriggerRule = "all_success"
	TriggerRuleAllFailed               TriggerRule = "all_failed"
	TriggerRuleAllDone                 TriggerRule = "all_done"
	TriggerRuleAllDoneMinOneSuccess    TriggerRule = "all_done_min_one_success"
	TriggerRuleAllSkipped              TriggerRule = "all_skipped"
	TriggerRuleOneSuccess              TriggerRule = "one_success"
	TriggerRuleOneFailed               TriggerRule = "one_failed"
	TriggerRuleOneDone                 TriggerRule = "one_done"
	TriggerRuleNoneFailed              TriggerRule = "none_failed"
	TriggerRuleNoneFailedMinOneSuccess TriggerRule = "none_failed_min_one_success"
	TriggerRuleNoneSkipped             TriggerRule = "none_skipped"
	TriggerRuleAlways                  TriggerRule = "always"
)

// AssetSpec names data: its name, its URI, or both.
type AssetSpec struct {
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	URI  string `json:"uri,omitempty" yaml:"uri,omitempty"`
}

// AssetRule starts a run after events of assets: of Asset, of all of All, or of
// one of Any.
type AssetRule struct {
	Asset *AssetSpec  `json:"asset,omitempty" yaml:"asset,omitempty"`
	All   []AssetRule `json:"all,omitempty" yaml:"all,omitempty"`
	Any   []AssetRule `json:"any,omitempty" yaml:"any,omitempty"`
}

// AllOf starts a run when each asset has had an event since the last one.
func AllOf(assets ...AssetSpec) *AssetRule { return &AssetRule{All: rules(assets)} }

// AnyOf starts a run at an event of one of the assets.
func AnyOf(assets ...AssetSpec) *AssetRule { return &AssetRule{Any: rules(assets)} }

func rules(assets []AssetSpec) (out []AssetRule) {
	for _, a := range assets {
		out = append(out, AssetRule{Asset: &a})
	}
	return out
}

// Callback is what is called after an event: a command for bash or a URL, which
// gets a POST of JSON. The command finds MLOPS_EVENT (success, failure, retry,
// deadline), MLOPS_DAG_ID, MLOPS_RUN_ID, and of a task MLOPS_TASK_ID, MLOPS_TRY and
// MLOPS_MAP_INDEX in its environment; the JSON has the same as event, dag_id and so
// on. It has 10 minutes, the URL 10 seconds. Nothing waits for it: what it prints, and
// a failure, stand in callback-<event>.log beside the logs of the run or the task.
// Both are written into the DAG file: never put a secret here.
type Callback struct {
	Bash    string `json:"bash,omitempty" yaml:"bash,omitempty"`
	Webhook string `json:"webhook,omitempty" yaml:"webhook,omitempty"`
}

// Callbacks are what is called when a task or a run ends.
type Callbacks struct {
	Success Callback `json:"success,omitzero" yaml:"success,omitempty"`
	Failure Callback `json:"failure,omitzero" yaml:"failure,omitempty"`
	Retry   Callback `json:"retry,omitzero" yaml:"retry,omitempty"`
}

// Deadline is how long a run may take from its trigger to its end before Call is
// called. The run continues.
type Deadline struct {
	After time.Duration `json:"after" yaml:"after"`
	Call  Callback      `json:"call" yaml:"call"`
}
