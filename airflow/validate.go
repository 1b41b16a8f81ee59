package airflow

import (
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	hashTag    = "mlops-sha:"     // begins the tag that tells the version
	projectTag = "mlops-project:" // begins the tag that tells the project

	// most is the longest text that Linux takes as one argument or variable.
	most = 128<<10 - 2
)

// reserved are the variables that every task gets.
var reserved = []string{
	"MLOPS_DAG_ID", "MLOPS_RUN_ID", "MLOPS_TASK_ID", "MLOPS_TRY", "MLOPS_MAP_INDEX", "MLOPS_EVENT",
	"MLOPS_CONF_JSON", "MLOPS_CONF_FILE", "MLOPS_INPUTS_FILE", "MLOPS_ITEM", "MLOPS_ITEM_FILE", "MLOPS_RETURN_FILE",
}

var (
	// keyRule is Airflow's rule for IDs (validate_key), in ASCII.
	keyRule     = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,250}$`)
	groupRule   = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)
	projectRule = regexp.MustCompile(`^[A-Za-z0-9_./-]{0,250}$`)

	envRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

var triggerRules = []TriggerRule{"", TriggerRuleAllSuccess, TriggerRuleAllFailed, TriggerRuleAllDone, TriggerRuleAllDoneMinOneSuccess, TriggerRuleAllSkipped,
	TriggerRuleOneSuccess, TriggerRuleOneFailed, TriggerRuleOneDone, TriggerRuleNoneFailed, TriggerRuleNoneFailedMinOneSuccess, TriggerRuleNoneSkipped, TriggerRuleAlways}

// faults collects what is wrong with a declaration.
type faults []string

func (f *faults) say(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// Validate reports all that Airflow, bash or the DAG file could not take. The
// error matches [mlops.ErrInvalid]. Whether Schedule is good cron and TimeZone is
// known the server decides: see [Client.Declare].
func (d DAGSpec) Validate() error {
	var bad faults
	d.validateHead(&bad)
	if len(d.Tasks) == 0 {
		bad.say("DAG %q has no tasks", d.ID)
	}
	for i := range d.Tasks {
		taskFaults{d: d, i: i, t: d.resolved(i), faults: &bad}.all()
	}
	if len(bad) == 0 {
		if loop := d.loop(); loop != "" {
			bad.say("tasks wait for each other: %s", loop)
		}
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return invalid("Validate", "%s", strings.Join(slices.Compact(bad), "; "))
	}
	return nil
}

func (d DAGSpec) validateHead(bad *faults) {
	if !isKey(d.ID) {
		bad.say("DAG ID %.300q: want up to 250 letters, digits, dashes, dots and underscores, no dot first, no two together", d.ID)
	}
	if !projectRule.MatchString(d.Project) {
		bad.say("project %q: want up to 250 letters, digits, dashes, dots, slashes and underscores", d.Project)
	}
	switch {
	case d.Schedule != "" && d.Every != 0:
		bad.say("there is both Schedule %q and Every %v", d.Schedule, d.Every)
	case d.Schedule != "" && d.Start.IsZero():
		bad.say("schedule %q needs a Start", d.Schedule)
	case d.Every != 0 && d.Start.IsZero():
		bad.say("every %v needs a Start", d.Every)
	case d.Every != 0 && d.Every < time.Second:
		bad.say("Every %v is shorter than a second", d.Every)
	}
	if !d.Start.IsZero() && (d.Start.UTC().Year() < 1970 || d.Start.UTC().Year() > 9998) {
		bad.say("Start %v is out of range", d.Start)
	}
	for what, n := range map[string]int64{"MaxActiveRuns": int64(d.MaxActiveRuns), "MaxActiveTasks": int64(d.MaxActiveTasks), "Timeout": int64(d.Timeout)} {
		if n < 0 {
			bad.say("%s %d is negative", what, n)
		}
	}
	for i, t := range d.Tags {
		if t == "" || utf8.RuneCountInString(t) > 100 || strings.HasPrefix(t, hashTag) || strings.HasPrefix(t, projectTag) || slices.Contains(d.Tags[:i], t) {
			bad.say("tag %.120q: want each once, 1 to 100 characters, neither %s nor %s", t, hashTag, projectTag)
		}
	}
	for what, s := range map[string]string{"description": d.Description, "schedule": d.Schedule, "time zone": d.TimeZone, "pool": d.Pool, "owner": d.DefaultArgs.Owner, "tags": strings.Join(d.Tags, "")} {
		if !isText(s) {
			bad.say("%s: %.120q is not UTF-8 text", what, s)
		}
	}
	if a := d.DefaultArgs; a.Retries < 0 || a.RetryDelay < 0 || a.Timeout < 0 {
		bad.say("DefaultArgs: a negative number")
	}
	if d.Assets != nil {
		d.Assets.validate(bad)
	}
	if _, err := d.Params.schema(); err != nil {
		bad.say("Params: %v", err)
	}
	d.On.validate(bad, "the DAG")
	if d.On.Retry != (Callback{}) {
		bad.say("On.Retry of the DAG: only tasks are retried")
	}
	if d.Deadline != nil {
		d.Deadline.Call.validate(bad, "Deadline.Call")
		if d.Deadline.After <= 0 || d.Deadline.Call == (Callback{}) {
			bad.say("Deadline: want a time above 0 and what is called")
		}
	}
}

func (r AssetRule) validate(bad *faults) {
	if one(r.Asset != nil, len(r.All) > 0, len(r.Any) > 0) != 1 {
		bad.say("Assets: want each rule to be one of Asset, All and Any")
	}
	if r.Asset != nil {
		r.Asset.validate(bad, "Assets")
	}
	for _, sub := range slices.Concat(r.All, r.Any) {
		sub.validate(bad)
	}
}

func (a AssetSpec) validate(bad *faults, where string) {
	if a == (AssetSpec{}) || !isText(a.Name) || !isText(a.URI) || utf8.RuneCountInString(a.Name) > 1500 || utf8.RuneCountInString(a.URI) > 1500 {
		bad.say("%s: an asset has a name or a URI of up to 1500 characters", where)
	}
}

func (c Callbacks) validate(bad *faults, of string) {
	for event, call := range map[string]Callback{"Success": c.Success, "Failure": c.Failure, "Retry": c.Retry} {
		call.validate(bad, "On."+event+" of "+of)
	}
}

func (c Callback) validate(bad *faults, where string) {
	u, err := url.Parse(c.Webhook)
	switch {
	case c.Bash != "" && c.Webhook != "":
		bad.say("%s: there is both Bash and Webhook", where)
	case len(c.Bash) > most || !isText(c.Bash):
		bad.say("%s: Bash is no text of up to %d bytes", where, most)
	case c.Webhook != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https"):
		bad.say("%s: Webhook %.120q is no http URL", where, c.Webhook)
	case c.Webhook != "" && (u.User != nil || strings.ContainsFunc(c.Webhook, func(r rune) bool { return r <= ' ' || r > '~' })):
		bad.say("%s: a Webhook is a URL of ASCII without a user and blanks; others are not sent", where)
	}
}

// taskFaults looks at one task, with its defaults filled in.
type taskFaults struct {
	d DAGSpec
	i int
	t TaskSpec
	*faults
}

func (f taskFaults) about(format string, args ...any) {
	f.say("task %.300q: "+format, append([]any{f.t.ID}, args...)...)
}

func (f taskFaults) all() {
	t := f.t
	if !isKey(t.ID) {
		f.about("an ID has up to 250 letters, digits, dashes, dots and underscores, no dot first, no two together")
	}
	if slices.ContainsFunc(f.d.Tasks[:f.i], func(o TaskSpec) bool { return o.ID == t.ID }) {
		f.about("declared twice")
	}
	f.kind()
	f.texts()
	f.order()
	f.numbers()
	for _, a := range t.Outlets {
		a.validate(f.faults, fmt.Sprintf("task %q: Outlets", t.ID))
	}
	t.On.validate(f.faults, fmt.Sprintf("task %q", t.ID))
}

func (f taskFaults) kind() {
	t := f.t
	switch one(t.Bash != "", t.Python != nil, t.Go != nil, t.Wait != nil, t.Decision != nil) {
	case 0:
		f.about("Bash is empty, and there is no Python, Go, Wait or Decision")
		return
	case 1:
	default:
		f.about("want one of Bash, Python, Go, Wait and Decision")
		return
	}
	switch {
	case t.Python != nil:
		f.program("Python", append([]string{t.Python.File, t.Python.Module, t.Python.Interpreter}, t.Python.Args...))
		if one(t.Python.File != "", t.Python.Module != "") != 1 {
			f.about("Python: want File or Module")
		}
	case t.Go != nil:
		f.program("Go", []string{t.Go.Program, t.Go.Task})
		if t.Go.Program == "" || t.Go.Task == "" {
			f.about("Go: want the program and the name of its task")
		}
	case t.Wait != nil:
		f.wait(*t.Wait)
	case t.Decision != nil:
		f.decision(*t.Decision)
	default:
		f.bash()
	}
	if t.Wait == nil && t.Decision == nil {
		return
	}
	if len(t.Env) > 0 && f.d.Tasks[f.i].Env != nil || t.Inputs != nil || t.Each != nil || t.EachOf != "" || t.Role != "" {
		f.about("Env, Inputs, Each, EachOf and Role are of tasks that run a program")
	}
}

func (f taskFaults) bash() {
	switch t := f.t; {
	case strings.TrimSpace(t.Bash) == "":
		f.about("Bash is empty")
	case len(t.Bash) > most:
		f.about("Bash has %d bytes, bash -c takes %d: put it into a script", len(t.Bash), most)
	case !isText(t.Bash):
		f.about("Bash is not UTF-8 text")
	}
}

func (f taskFaults) program(what string, words []string) {
	n := 0
	for _, w := range words {
		n += len(w) + 16
		if !isText(w) {
			f.about("%s: %.120q is not UTF-8 text", what, w)
		}
	}
	if n > most/2 {
		f.about("%s: the command is longer than %d bytes", what, most/2)
	}
}

func (f taskFaults) wait(w WaitFor) {
	if one(!w.Until.IsZero(), w.For != 0, w.File != "", w.Asset != nil, w.Task != nil) != 1 {
		f.about("Wait: want one of Until, For, File, Asset and Task")
	}
	if w.For < 0 || w.Every < 0 || w.Timeout < 0 {
		f.about("Wait: a negative time")
	}
	for name, d := range map[string]time.Duration{"For": w.For, "Every": w.Every, "Timeout": w.Timeout} {
		if d > 0 && d < time.Second {
			f.about("Wait: %s %v is below a second", name, d)
		}
	}
	if at := w.Until.UTC().Year(); !w.Until.IsZero() && (at < 1970 || at > 9998) {
		f.about("Wait: Until is in the year %d", at)
	}
	if given := f.d.Tasks[f.i]; given.Timeout != 0 || given.Dir != "" {
		f.about("it waits and runs no program: want Wait.Timeout, and no Timeout and Dir")
	}
	if w.File != "" && (!filepath.IsAbs(w.File) || !isText(w.File)) {
		f.about("Wait: File %.120q is not an absolute path", w.File)
	}
	if w.Asset != nil {
		w.Asset.validate(f.faults, fmt.Sprintf("task %q: Wait", f.t.ID))
	}
	if w.Task != nil && (!isKey(w.Task.DAG) || w.Task.Task != "" && !isKey(w.Task.Task)) {
		f.about("Wait: %.120q of DAG %.120q is no task", w.Task.Task, w.Task.DAG)
	}
}

func (f taskFaults) decision(q DecisionSpec) {
	if given := f.d.Tasks[f.i]; given.Timeout != 0 || given.Dir != "" {
		f.about("it asks and runs no program: want Decision.Timeout, and no Timeout and Dir")
	}
	for _, s := range slices.Concat([]string{q.Subject, q.Body}, q.Options, q.Defaults) {
		if !isText(s) {
			f.about("Decision: %.120q is not UTF-8 text", s)
		}
	}
	options := q.Options
	if len(options) == 0 {
		options = []string{"Approve", "Reject"}
	}
	switch {
	case q.Subject == "":
		f.about("Decision: Subject is empty")
	case q.Timeout < 0:
		f.about("Decision: a negative time")
	case len(q.Options) == 0 && (q.Multiple || q.Next != nil):
		f.about("Decision: Multiple and Next need Options")
	case len(q.Defaults) > 1 && !q.Multiple:
		f.about("Decision: more than one default, but not Multiple")
	}
	for _, o := range q.Defaults {
		if !slices.Contains(options, o) {
			f.about("Decision: default %.120q is none of the options", o)
		}
	}
	if q.Next == nil {
		return
	}
	for _, o := range options {
		next := q.Next[o]
		if !slices.ContainsFunc(f.d.Tasks, func(t TaskSpec) bool { return t.ID == next && slices.Contains(t.After, f.t.ID) }) {
			f.about("Decision: Next of %.120q is %q, which is no task after it", o, next)
		}
	}
	for o := range q.Next {
		if !slices.Contains(options, o) {
			f.about("Decision: Next has %.120q, which is no option", o)
		}
	}
}

func (f taskFaults) texts() {
	t := f.t
	for k, v := range t.Env {
		switch {
		case !envRule.MatchString(k):
			f.about("%.120q cannot name a variable", k)
		case slices.Contains(reserved, k):
			f.about("%s is set for every task", k)
		case !isText(v):
			f.about("%s is not UTF-8 text", k)
		case len(k)+len(v) > most:
			f.about("%s is longer than %d bytes", k, most)
		}
	}
	for k := range t.Inputs {
		switch _, both := t.Env[k]; {
		case !envRule.MatchString(k):
			f.about("%.120q cannot name a variable", k)
		case slices.Contains(reserved, k):
			f.about("%s is set for every task", k)
		case both:
			f.about("%s is in Env and in Inputs", k)
		}
	}
	if t.Dir != "" && (!strings.HasPrefix(t.Dir, "/") || !isText(t.Dir)) {
		f.about("Dir %.120q is not an absolute path", t.Dir)
	}
	if !isText(t.Pool) || utf8.RuneCountInString(t.Pool) > 256 {
		f.about("pool %.300q: want up to 256 characters", t.Pool)
	}
	if err := encodes(t.Each); err != nil {
		f.about("Each: %v", err)
	}
}

func (f taskFaults) order() {
	t := f.t
	isTask := func(id string) bool {
		return id != t.ID && slices.ContainsFunc(f.d.Tasks, func(o TaskSpec) bool { return o.ID == id })
	}
	for _, a := range t.After {
		switch inside := a == t.Group || strings.HasPrefix(t.Group, a+"."); {
		case f.d.isGroup(a) && inside:
			f.about("After names its own group %q", a)
		case !isTask(a) && !f.d.isGroup(a):
			f.about("After names %.300q, which is no other task", a)
		}
	}
	for k, id := range t.Inputs {
		if !isTask(id) {
			f.about("input %s is of %.300q, which is no other task", k, id)
		}
	}
	if t.Each != nil && len(t.Each) == 0 { // the file would not tell it from none: one run, without an item
		f.about("Each is an empty list; leave the task out, or name a task that returns the list: EachOf")
	}
	if t.EachOf != "" && (!isTask(t.EachOf) || t.Each != nil) {
		f.about("EachOf names %.300q: want another task, and no Each", t.EachOf)
	}
	if t.Group != "" && (!groupRule.MatchString(t.Group) || len(t.Group) > 200) {
		f.about("group %.300q: want up to 200 letters, digits, dashes and underscores, and dots between them", t.Group)
	}
	if f.d.isGroup(t.ID) {
		f.about("its ID is that of a group")
	}
	if !slices.Contains(triggerRules, t.TriggerRule) {
		f.about("there is no trigger rule %.120q", t.TriggerRule)
	}
	if !slices.Contains([]Role{"", RoleBranch, RoleShortCircuit, RoleSetup, RoleTeardown}, t.Role) {
		f.about("there is no role %.120q", t.Role)
	}
	if !slices.Contains([]TriggerRule{"", TriggerRuleAllSuccess}, t.TriggerRule) && f.followsSetup() {
		f.about("what follows a setup runs when all before it have succeeded; it has the rule %q", t.TriggerRule)
	}
	if t.Role == RoleTeardown && t.TriggerRule != "" {
		f.about("a teardown has its own trigger rule")
	}
}

func (f taskFaults) followsSetup() bool {
	before := f.d.before(f.t)
	return slices.ContainsFunc(f.d.Tasks, func(o TaskSpec) bool { return o.Role == RoleSetup && slices.Contains(before, o.ID) })
}

func (f taskFaults) numbers() {
	t := f.t
	if t.RetryDelay < 0 || t.PoolSlots < 0 || t.MaxRetryDelay < 0 || t.MaxActive < 0 || t.RetryBackoff < 0 {
		f.about("a negative number")
	}
	if t.Timeout > 0 && t.Timeout < time.Second {
		f.about("Timeout %v is below a second", t.Timeout)
	}
	if !(t.RetryBackoff == 0 || t.RetryBackoff >= 1 && t.RetryBackoff <= 100) {
		f.about("RetryBackoff %v: want 1 to 100", t.RetryBackoff)
	}
}

// isGroup reports whether a task lies in a group of this name, or below it.
func (d DAGSpec) isGroup(name string) bool {
	return name != "" && slices.ContainsFunc(d.Tasks, func(t TaskSpec) bool { return t.Group == name || strings.HasPrefix(t.Group, name+".") })
}

// loop names tasks that wait for each other; empty if there are none.
func (d DAGSpec) loop() string {
	after := map[string][]string{}
	for _, t := range d.Tasks {
		after[t.ID] = d.before(t)
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
			return strings.Join(slices.Sorted(maps.Keys(after)), ", ")
		}
	}
}

// before lists the IDs of the tasks that go directly before a task.
func (d DAGSpec) before(t TaskSpec) []string {
	need := slices.Collect(maps.Values(t.Inputs))
	if t.EachOf != "" {
		need = append(need, t.EachOf)
	}
	for _, a := range t.After {
		if !d.isGroup(a) {
			need = append(need, a)
		}
		for _, o := range d.Tasks {
			if o.Group == a || strings.HasPrefix(o.Group, a+".") {
				need = append(need, o.ID)
			}
		}
	}
	return need
}

// one counts what is true.
func one(of ...bool) (n int) {
	for _, is := range of {
		if is {
			n++
		}
	}
	return n
}

// isKey reports whether Airflow takes s as an ID and every file system takes
// it as a visible name.
func isKey(s string) bool {
	return keyRule.MatchString(s) && !strings.HasPrefix(s, ".") && !strings.Contains(s, "..")
}

// isText reports whether s passes unchanged through JSON and exec.
func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }
