package airflow

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// DAGSpec declares a DAG. [WriteDAG] makes it a file that Airflow reads.
type DAGSpec struct {
	ID            string // letters, digits, dashes, dots and underscores
	Project       string // whose DAG it is: no other project can replace or remove it; may be empty
	Description   string
	Schedule      string    // cron, or "@daily" and its kin, in UTC; empty: triggered only
	Start         time.Time // the first time that Schedule counts from; required with it
	Tags          []string
	Pool          string // of all tasks that name none; empty: default_pool
	MaxActiveRuns int    // 0: the server's default, 16
	Paused        bool   // a new DAG begins paused; later use Pause and Unpause
	DefaultArgs   DefaultArgs
	Tasks         []TaskSpec
}

// DefaultArgs hold for every task that does not say otherwise.
type DefaultArgs struct {
	Owner      string // shown in the list of DAGs; empty: "airflow"
	Retries    int
	RetryDelay time.Duration     // 0: Airflow's default, 5 min
	Timeout    time.Duration     // 0: none
	Env        map[string]string // see [TaskSpec]
	Dir        string
}

// TaskSpec declares a task: a command for bash.
type TaskSpec struct {
	ID string

	// Bash is run by "bash -c", exactly as it is written: Airflow's templates
	// ({{ … }}) are not expanded in it. It sees the environment of Airflow's
	// worker, Env, and MLOPS_DAG_ID, MLOPS_RUN_ID, MLOPS_TASK_ID, MLOPS_TRY,
	// MLOPS_CONF_FILE, a file that holds the conf of the run as JSON and is
	// removed after the task, and MLOPS_CONF_JSON, the same as text, which is
	// empty for a conf above 64 KiB: Linux takes none above 128. Begin it with "set -e" if each
	// line must succeed. Exit status 99 marks the task as skipped, any other
	// but 0 as failed. Its last line on stdout becomes the task's XCom.
	Bash string

	// Env is added to the environment. It is written into the DAG file, which
	// others may read and Airflow shows: never put a secret here.
	Env map[string]string

	After      []string      // IDs of the tasks that have to succeed first
	Retries    int           // 0: DefaultArgs.Retries; negative: none
	RetryDelay time.Duration // 0: DefaultArgs.RetryDelay
	Timeout    time.Duration // 0: DefaultArgs.Timeout; negative: none
	Pool       string        // empty: DAGSpec.Pool
	PoolSlots  int           // 0: 1
	Dir        string        // absolute; empty: DefaultArgs.Dir, or else a scratch folder of the task
}

const (
	hashTag    = "mlops-sha:"     // begins the tag that tells the version
	projectTag = "mlops-project:" // begins the tag that tells the project

	// most is the longest text that Linux takes as one argument or variable.
	most = 128<<10 - 2
)

// reserved are the variables that every task gets, and the templates that
// fill them.
var reserved = []string{"MLOPS_DAG_ID", "MLOPS_RUN_ID", "MLOPS_TASK_ID", "MLOPS_TRY", "MLOPS_CONF_JSON", "MLOPS_CONF_FILE"}

var (
	// keyRule is Airflow's rule for IDs (validate_key), in ASCII.
	keyRule     = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,250}$`)
	projectRule = regexp.MustCompile(`^[A-Za-z0-9_./-]{0,250}$`)

	envRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate reports all that Airflow, bash or the DAG file could not take. The
// error matches [mlops.ErrInvalid]. Whether Schedule is good cron the server
// decides: see [Client.WaitDAG].
func (d DAGSpec) Validate() error {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }

	if !isKey(d.ID) {
		say("DAG ID %q: want up to 250 letters, digits, dashes, dots and underscores, no dot first, no two together", d.ID)
	}
	if !projectRule.MatchString(d.Project) {
		say("project %q: want up to 250 letters, digits, dashes, dots, slashes and underscores", d.Project)
	}
	if d.Schedule != "" && d.Start.IsZero() {
		say("schedule %q needs a Start", d.Schedule)
	}
	if !d.Start.IsZero() && (d.Start.UTC().Year() < 1970 || d.Start.UTC().Year() > 9999) {
		say("Start %v is out of range", d.Start)
	}
	if d.MaxActiveRuns < 0 {
		say("MaxActiveRuns %d is negative", d.MaxActiveRuns)
	}
	for i, t := range d.Tags {
		if t == "" || utf8.RuneCountInString(t) > 100 || strings.HasPrefix(t, hashTag) || strings.HasPrefix(t, projectTag) || slices.Contains(d.Tags[:i], t) {
			say("tag %q: want each once, 1 to 100 characters, neither %s nor %s", t, hashTag, projectTag)
		}
	}
	for what, s := range map[string]string{"description": d.Description, "schedule": d.Schedule, "pool": d.Pool, "owner": d.DefaultArgs.Owner, "tags": strings.Join(d.Tags, "")} {
		if !isText(s) {
			say("%s: %q is not UTF-8 text", what, s)
		}
	}
	if a := d.DefaultArgs; a.Retries < 0 || a.RetryDelay < 0 || a.Timeout < 0 {
		say("DefaultArgs: a negative number")
	}
	if len(d.Tasks) == 0 {
		say("DAG %q has no tasks", d.ID)
	}
	for i := range d.Tasks {
		d.validateTask(i, say)
	}
	if len(bad) == 0 {
		if loop := d.loop(); loop != "" {
			say("tasks wait for each other: %s", loop)
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return invalid("Validate", "%s", strings.Join(slices.Compact(bad), "; "))
	}
	return nil
}

func (d DAGSpec) validateTask(i int, say func(string, ...any)) {
	t := d.resolved(i)
	about := func(format string, args ...any) { say("task %q: "+format, append([]any{t.ID}, args...)...) }
	if !isKey(t.ID) {
		about("an ID has up to 250 letters, digits, dashes, dots and underscores, no dot first, no two together")
	}
	if slices.ContainsFunc(d.Tasks[:i], func(o TaskSpec) bool { return o.ID == t.ID }) {
		about("declared twice")
	}
	switch {
	case strings.TrimSpace(t.Bash) == "":
		about("Bash is empty")
	case len(t.Bash) > most:
		about("Bash has %d bytes, bash -c takes %d: put it into a script", len(t.Bash), most)
	case !isText(t.Bash):
		about("Bash is not UTF-8 text")
	}
	for k, v := range t.Env {
		switch {
		case !envRule.MatchString(k):
			about("%q cannot name a variable", k)
		case slices.Contains(reserved, k):
			about("%s is set for every task", k)
		case !isText(v):
			about("%s is not UTF-8 text", k)
		case len(k)+len(v) > most:
			about("%s is longer than %d bytes", k, most)
		}
	}
	for _, a := range t.After {
		if a == t.ID || !slices.ContainsFunc(d.Tasks, func(o TaskSpec) bool { return o.ID == a }) {
			about("After names %q, which is no other task", a)
		}
	}
	if t.RetryDelay < 0 || t.PoolSlots < 0 {
		about("a negative number")
	}
	if t.Dir != "" && (!strings.HasPrefix(t.Dir, "/") || !isText(t.Dir)) {
		about("Dir %q is not an absolute path", t.Dir)
	}
	if !isText(t.Pool) || utf8.RuneCountInString(t.Pool) > 256 {
		about("pool %q: want up to 256 characters", t.Pool)
	}
}

// resolved returns a task with the defaults of the DAG filled in.
func (d DAGSpec) resolved(i int) TaskSpec {
	t, a := d.Tasks[i], d.DefaultArgs
	t.Retries = max(0, orElse(t.Retries, a.Retries))
	t.RetryDelay = orElse(t.RetryDelay, a.RetryDelay)
	t.Timeout = max(0, orElse(t.Timeout, a.Timeout))
	t.Pool = orElse(orElse(t.Pool, d.Pool), "default_pool")
	t.PoolSlots = orElse(t.PoolSlots, 1)
	t.Dir = orElse(t.Dir, a.Dir)
	env := map[string]string{}
	for k, v := range a.Env {
		env[k] = v
	}
	for k, v := range t.Env {
		env[k] = v
	}
	t.Env = env
	return t
}

func orElse[T comparable](v, other T) T {
	if v == *new(T) {
		return other
	}
	return v
}

// loop names tasks that wait for each other; empty if there are none.
func (d DAGSpec) loop() string {
	after := map[string][]string{}
	for _, t := range d.Tasks {
		after[t.ID] = t.After
	}
	for {
		n := len(after)
		for id, need := range after {
			if !slices.ContainsFunc(need, func(a string) bool { _, waits := after[a]; return waits }) {
				delete(after, id)
			}
		}
		if len(after) == 0 {
			return ""
		}
		if len(after) == n {
			var ids []string
			for id := range after {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return strings.Join(ids, ", ")
		}
	}
}

// isKey reports whether Airflow takes s as an ID and every file system takes
// it as a visible name.
func isKey(s string) bool {
	return keyRule.MatchString(s) && !strings.HasPrefix(s, ".") && !strings.Contains(s, "..")
}

// isText reports whether s passes unchanged through JSON and exec.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
