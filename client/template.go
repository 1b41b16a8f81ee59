package client

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mlops-integration/mlops/airflow"
)

// PipelineOptions is what all templates take. A template is a function from a few
// options to a [airflow.DAGSpec], which can be changed before [Project.DeclareDAG].
// Texts reach the tasks as variables; none becomes part of another command.
type PipelineOptions struct {
	ID       string    // of the DAG, within the project; empty: the template's name
	Dir      string    // folder of the project, absolute
	Schedule string    // cron; empty: triggered only
	Start    time.Time // required with Schedule
	TimeZone string    // of the IANA database; empty: UTC
	Retries  int
}

func (o PipelineOptions) dag(id string, tasks ...airflow.TaskSpec) airflow.DAGSpec {
	if o.ID != "" {
		id = o.ID
	}
	return airflow.DAGSpec{
		ID: id, Schedule: o.Schedule, Start: o.Start, TimeZone: o.TimeZone, MaxActiveRuns: 1,
		DefaultArgs: airflow.DefaultArgs{Dir: o.Dir, Retries: o.Retries, RetryDelay: time.Minute}, Tasks: chain(tasks),
	}
}

// chain puts each task after the one before it.
func chain(tasks []airflow.TaskSpec) []airflow.TaskSpec {
	for i := 1; i < len(tasks); i++ {
		tasks[i].After = []string{tasks[i-1].ID}
	}
	return tasks
}

// TrainOptions is what [Train] and [RetrainOnDrift] know of a training.
type TrainOptions struct {
	PipelineOptions
	Data []string // what DVC tracks and the training reads; it is pulled before

	// Command is run by bash within "mlopsctl run exec". It trains and registers
	// the model; the last line that it prints on standard output is the number of
	// the new version, as "mlopsctl model log" prints it.
	Command string
	Model   string // name of the registered model
}

// Train pulls data and trains a model: the tasks pull, if there is Data, and
// train.
func Train(o TrainOptions) airflow.DAGSpec {
	return o.dag("train", append(pull(o.Data), o.train())...)
}

// train logs what the command prints as it comes, and says its last line once
// more at the end: Airflow takes the last line of both outputs for the value.
func (o TrainOptions) train() airflow.TaskSpec {
	return airflow.TaskSpec{ID: "train", Env: map[string]string{"TRAIN_COMMAND": o.Command, "MODEL_NAME": o.Model},
		Bash: `set -o pipefail
mlopsctl run exec --name "$MLOPS_DAG_ID" -- bash -c "${TRAIN_COMMAND:?is empty}" | (trap '' INT TERM; tee -a /dev/stderr | tail -n 1)`}
}

// pull is the task that pulls data; there is none without data.
func pull(data []string) []airflow.TaskSpec {
	if len(data) == 0 {
		return nil
	}
	return []airflow.TaskSpec{onData("pull", "dvc-pull", data)}
}

// onData is a task that runs a command of mlopsctl on paths.
func onData(id, command string, paths []string) airflow.TaskSpec {
	t := airflow.TaskSpec{ID: id, Bash: "exec mlopsctl " + command + " --", Env: map[string]string{}}
	for i, path := range paths {
		name := fmt.Sprintf("DATA_%d", i+1)
		t.Env[name] = path
		t.Bash += fmt.Sprintf(` "$%s"`, name)
	}
	return t
}

// RetrainOptions is what [RetrainOnDrift] takes.
type RetrainOptions struct {
	TrainOptions
	Reference string    // data that the champion was trained on
	Current   string    // data of today
	Metric    string    // that the new version has to be better in; empty: it need not
	Direction Direction // of Metric; required if its name is not well known
	Margin    float64   // how much better
	Ask       bool      // a person decides before the new version becomes the champion
	Deploy    bool      // serve the new champion
}

// RetrainOnDrift looks for drift and ends there if there is none. Otherwise it
// trains, compares the new version with the champion, and, if it is better and
// was not rejected, serves it and points the alias champion at it: the tasks pull,
// drift, train, compare, ask, deploy and promote, as far as the options want them.
//
// The last two fail if the champion is newer than the version, as in an old run
// that runs again, or is no longer the one that the version was compared with.
//
// The error matches [mlops.ErrInvalid] if Metric has no Direction.
func RetrainOnDrift(o RetrainOptions) (airflow.DAGSpec, error) {
	tasks := append(pull(o.Data), o.drift(), o.train())
	promote := `mlopsctl model alias --newer`
	if o.Metric != "" {
		direction, err := o.Direction.of(o.Metric)
		if err != nil {
			return airflow.DAGSpec{}, err
		}
		compare := o.onVersion("compare", `better=$(mlopsctl model compare --with-champion `+direction.flag()+` --metric "$METRIC" --margin "$MARGIN" -- "$MODEL_NAME" "$VERSION") || exit
echo "$better"`)
		compare.Role = airflow.RoleShortCircuit
		compare.Env["METRIC"], compare.Env["MARGIN"] = o.Metric, strconv.FormatFloat(o.Margin, 'g', -1, 64)
		tasks = append(tasks, compare)
		promote = `: "${BETTER:?is empty}"; mlopsctl model alias --newer --if-at "${BETTER#true }"`
	}
	if o.Ask {
		tasks = append(tasks, airflow.TaskSpec{ID: "ask", Decision: &airflow.DecisionSpec{Subject: "Make the new version of " + o.Model + " the champion?"}})
	}
	const operands = ` -- "$MODEL_NAME" champion "$VERSION"`
	if o.Deploy {
		tasks = append(tasks, o.onChampion("deploy", promote+" --dry-run"+operands+` && exec mlopsctl deploy -- "$MODEL_NAME" "$VERSION"`))
	}
	tasks = append(tasks, o.onChampion("promote", promote+operands))
	return o.dag("retrain-on-drift", tasks...), nil
}

// drift lets the tasks after it run if there is drift, which is exit code 10.
func (o RetrainOptions) drift() airflow.TaskSpec {
	return airflow.TaskSpec{ID: "drift", Role: airflow.RoleShortCircuit, Env: map[string]string{"REFERENCE": o.Reference, "CURRENT": o.Current},
		Bash: `code=0
mlopsctl drift check -- "$REFERENCE" "$CURRENT" || code=$?
case $code in
10) echo true ;;
0) echo false ;;
*) exit $code ;;
esac`}
}

// onVersion is a task about the version that the task train made.
func (o RetrainOptions) onVersion(id, bash string) airflow.TaskSpec {
	return airflow.TaskSpec{ID: id, Bash: bash, Env: map[string]string{"MODEL_NAME": o.Model}, Inputs: map[string]string{"VERSION": "train"}}
}

// onChampion is a task about that version and the champion that the task compare
// saw, if there is one: it returns "true" and the champion.
func (o RetrainOptions) onChampion(id, bash string) airflow.TaskSpec {
	t := o.onVersion(id, bash)
	if o.Metric != "" {
		t.Inputs["BETTER"] = "compare"
	}
	return t
}

// RefreshOptions is what [DataRefresh] takes.
type RefreshOptions struct {
	PipelineOptions
	Command string             // is run by bash and writes Data
	Data    []string           // what it writes, files or folders
	Asset   *airflow.AssetSpec // has an event then; nil: none
}

// DataRefresh makes data, tracks it with DVC and pushes it: the tasks make,
// track and push.
func DataRefresh(o RefreshOptions) airflow.DAGSpec {
	push := onData("push", "dvc-push", o.Data)
	if o.Asset != nil {
		push.Outlets = []airflow.AssetSpec{*o.Asset}
	}
	return o.dag("data-refresh", airflow.TaskSpec{ID: "make", Bash: o.Command}, onData("track", "dvc-add", o.Data), push)
}

// ScoreOptions is what [BatchScore] takes.
type ScoreOptions struct {
	PipelineOptions
	Data    []string // what DVC tracks; it is pulled before
	Command string   // is run by bash for each part, which it finds in MLOPS_ITEM
	Parts   []string // names of files, say; they are scored side by side
	AtOnce  int      // parts at once; 0: as many as the project's pool has slots
	Collect string   // is run by bash at the end and finds what the parts returned, a JSON list, in SCORES; empty: nothing is
}

// BatchScore scores parts of data side by side and collects what comes out: the
// tasks pull, score and collect, the first and the last if the options want them.
func BatchScore(o ScoreOptions) airflow.DAGSpec {
	score := airflow.TaskSpec{ID: "score", Bash: o.Command, MaxActive: o.AtOnce, Each: []any{}}
	for _, part := range o.Parts {
		score.Each = append(score.Each, part)
	}
	tasks := append(pull(o.Data), score)
	if o.Collect != "" {
		tasks = append(tasks, airflow.TaskSpec{ID: "collect", Bash: o.Collect, Inputs: map[string]string{"SCORES": "score"}})
	}
	return o.dag("batch-score", tasks...)
}
