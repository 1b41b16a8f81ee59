package cli

import (
	"bytes"
	"context"
	"embed"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/dvc"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/gitcmd"
	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

//go:embed demo
var demoFiles embed.FS

// data makes the scratch project: a git repository with the training script
// and with data that DVC tracks and has pushed.
func (d *demo) data(ctx context.Context) (demoResult, error) {
	var none demoResult
	if err := d.removeScratch(); err != nil {
		return none, err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return none, err
	}
	for name, content := range map[string]string{demoMarker: "", client.FileName: "project: " + demoProject + "\n", ".gitignore": "/out\n/drift\n"} {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o644); err != nil {
			return none, err
		}
	}
	for _, name := range []string{"prepare.py", "train.py", "train.sh"} {
		b, err := demoFiles.ReadFile("demo/" + name)
		if err != nil {
			return none, err
		}
		if err := os.WriteFile(filepath.Join(d.dir, name), b, 0o644); err != nil {
			return none, err
		}
	}
	if err := d.sh(ctx, d.python, "prepare.py", "data"); err != nil {
		return none, err
	}
	if err := d.run(gitcmd.Command(ctx, d.dir, "init", "--quiet")); err != nil {
		return none, err
	}
	p, err := client.FromProject(ctx, demoProject, client.In(d.dir), client.WithHome(d.home), client.WithLogger(d.e.log))
	if err != nil {
		return none, err
	}
	d.project = p
	if err := p.Data.Init(ctx); err != nil {
		return none, err
	}
	if _, err := p.Data.Add(ctx, "data"); err != nil {
		return none, err
	}
	t, err := p.Data.Push(ctx, dvc.PushOptions{})
	if err != nil {
		return none, err
	}
	if err := d.run(gitcmd.Command(ctx, d.dir, "add", "--all")); err != nil {
		return none, err
	}
	err = d.run(gitcmd.Command(ctx, d.dir, "-c", "user.name=mlopsctl demo", "-c", "user.email=demo@localhost", "commit", "--quiet", "-m", "breast cancer data and a classifier"))
	return demoResult{fmt.Sprintf("%d objects pushed", t.Objects), p.Workspace().DVCRemotePath}, err
}

func (d *demo) register(ctx context.Context) (demoResult, error) {
	w, err := d.project.Register(ctx)
	return demoResult{"experiment " + w.MLflowExperimentID, d.project.Config.MLflowURI + "/#/experiments/" + w.MLflowExperimentID}, err
}

// declare writes the DAG: a task that fetches the code and the data of this
// project, and one that trains within a tracked run.
func (d *demo) declare(ctx context.Context) (demoResult, error) {
	at, err := d.stack.Workplace(d.dir)
	if err != nil {
		return demoResult{}, err
	}
	work := map[string]string{"PROJECT_DIR": at.Project, "WORK_DIR": at.Work, "TRAIN_PYTHON": at.Python, "MODEL_NAME": demoModel}
	dag, err := d.project.DeclareDAG(ctx, airflow.DAGSpec{
		ID: "train", Description: "pull the data, train, register the model",
		Tasks: []airflow.TaskSpec{
			{ID: "pull", Env: work, Timeout: 10 * time.Minute, Bash: `set -eu
rm -rf "$WORK_DIR/$MLOPS_RUN_ID"
git clone --quiet "$PROJECT_DIR" "$WORK_DIR/$MLOPS_RUN_ID"
cd "$WORK_DIR/$MLOPS_RUN_ID"
mlopsctl dvc-pull`},
			{ID: "train", Env: work, After: []string{"pull"}, Timeout: 20 * time.Minute, Bash: `set -eu
cd "$WORK_DIR/$MLOPS_RUN_ID"
mlopsctl run exec --name "$MLOPS_RUN_ID" --data data -- sh train.sh`},
		},
	})
	return demoResult{dag.ID, d.project.Config.AirflowURL + "/dags/" + dag.ID}, err
}

func (d *demo) train(ctx context.Context) (demoResult, error) {
	a := d.project.Airflow
	r, err := d.project.Trigger(ctx, "train", airflow.TriggerOptions{})
	if err != nil {
		return demoResult{}, err
	}
	d.dagRun = r.ID
	if r, err = a.Wait(ctx, r.DAGID, r.ID, airflow.WaitOptions{}); err != nil {
		return demoResult{}, fmt.Errorf("%w%s", err, d.taskLog(ctx, r))
	}
	runs, err := mlops.Collect(d.project.Runs(ctx, "tags.`mlops.airflow.run_id` = '"+r.ID+"'"))
	if err != nil {
		return demoResult{}, err
	}
	if len(runs) != 1 {
		return demoResult{}, fmt.Errorf("run %s of the DAG succeeded, but MLflow has %d runs of it", r.ID, len(runs))
	}
	d.runID = runs[0].ID
	return demoResult{fmt.Sprintf("val_accuracy %.3f", numbers(runs[0].Metrics)["val_accuracy"]),
		fmt.Sprintf("%s/#/experiments/%s/runs/%s", d.project.Config.MLflowURI, d.project.Workspace().MLflowExperimentID, d.runID)}, nil
}

// taskLog is the end of the log of each task that failed.
func (d *demo) taskLog(ctx context.Context, r airflow.DAGRun) string {
	var b strings.Builder
	for ti, err := range d.project.Airflow.Tasks.All(ctx, r.DAGID, r.ID) {
		if err != nil || ti.State != airflow.StateFailed {
			continue
		}
		lines, _ := mlops.Collect(d.project.Airflow.Logs(ctx, r.DAGID, r.ID, ti.TaskID, airflow.LogOptions{Try: ti.Try}))
		for _, l := range lines[max(0, len(lines)-15):] {
			b.WriteString("\n" + ti.TaskID + ": " + l.String())
		}
	}
	return b.String()
}

func (d *demo) promote(ctx context.Context) (demoResult, error) {
	m := d.project.MLflow
	for v, err := range m.Models.Versions(ctx, mlflow.ModelQuery{Filter: "name = '" + demoModel + "'"}) {
		if err != nil {
			return demoResult{}, err
		}
		if v.RunID != d.runID {
			continue
		}
		err := m.Models.SetAlias(ctx, demoModel, "champion", v.Version)
		return demoResult{"version " + v.Version, d.project.Config.MLflowURI + "/#/models/" + demoModel + "/versions/" + v.Version}, err
	}
	return demoResult{}, fmt.Errorf("run %s registered no version of %s", d.runID, demoModel)
}

func (d *demo) deploy(ctx context.Context) (demoResult, error) {
	a, err := d.project.Deploy(ctx, demoModel+"@champion", client.DeployOptions{
		Name:    demoDeployment,
		OnState: func(a rayserve.App) { d.progress.set("%s: %s %s", a.Name, a.Status, a.Message) },
	})
	return demoResult{string(a.Status) + " " + a.ModelURI, a.URL}, err
}

// score asks the served model about rows that training never saw, and counts.
func (d *demo) score(ctx context.Context) (demoResult, error) {
	header, rows, err := readCSV(filepath.Join(d.dir, "data", "heldout.csv"))
	if err != nil {
		return demoResult{}, err
	}
	target := len(header) - 1
	in := rayserve.DataframeSplit{Columns: header[:target]}
	for _, r := range rows {
		in.Data = append(in.Data, anys(r[:target]))
	}
	out, err := d.project.Predict(ctx, demoDeployment, in)
	if err != nil {
		return demoResult{}, err
	}
	got, err := out.Floats()
	if err != nil {
		return demoResult{}, err
	}
	if len(got) != len(rows) {
		return demoResult{}, fmt.Errorf("%d rows were sent, %d answers came", len(rows), len(got))
	}
	right := 0
	for i, r := range rows {
		if got[i] == r[target] {
			right++
		}
	}
	return demoResult{result: fmt.Sprintf("accuracy %.3f of %d answers", float64(right)/float64(len(rows)), len(rows))}, nil
}

func (d *demo) driftLike(ctx context.Context) (demoResult, error) {
	return d.drift(ctx, "like", 1, false)
}

func (d *demo) driftShifted(ctx context.Context) (demoResult, error) {
	return d.drift(ctx, "shifted", 1.5, true)
}

// drift compares the training data with the held-out rows, whose features are
// multiplied by factor, and insists on what must come out.
func (d *demo) drift(ctx context.Context, name string, factor float64, want bool) (demoResult, error) {
	header, rows, err := readCSV(filepath.Join(d.dir, "data", "heldout.csv"))
	if err != nil {
		return demoResult{}, err
	}
	features := header[:len(header)-1]
	for _, r := range rows {
		for i := range features {
			r[i] *= factor
		}
	}
	current := filepath.Join(d.dir, "drift", name+".csv")
	if err := writeCSV(current, header, rows); err != nil {
		return demoResult{}, err
	}
	about, err := d.project.About(ctx, demoDeployment)
	if err != nil {
		return demoResult{}, err
	}
	r, err := d.project.Drift(ctx, filepath.Join("data", "train.csv"), current, evidently.DriftOptions{Name: name, Columns: features, Tags: []string{"demo"}, Metadata: about})
	if err != nil {
		return demoResult{}, err
	}
	if r.Drifted != want {
		return demoResult{}, fmt.Errorf("%d of %d columns drifted in the %s rows: drift %t, want %t", r.DriftedColumns, len(r.Columns), name, r.Drifted, want)
	}
	if r.Unsent != nil {
		return demoResult{}, r.Unsent
	}
	project, err := d.project.Evidently.ProjectByName(ctx, demoProject)
	return demoResult{fmt.Sprintf("drift %t: %d of %d columns", r.Drifted, r.DriftedColumns, len(r.Columns)),
		fmt.Sprintf("%s/projects/%s/reports/%s", d.project.Config.EvidentlyURL, project.ID, r.SnapshotID)}, err
}

// sh runs a program in the scratch project.
func (d *demo) sh(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = d.dir
	return d.run(cmd)
}

func (d *demo) run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

func readCSV(path string) ([]string, [][]float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(all) < 2 {
		return nil, nil, fmt.Errorf("%s holds no rows", path)
	}
	rows := make([][]float64, 0, len(all)-1)
	for _, line := range all[1:] {
		row := make([]float64, len(line))
		for i, s := range line {
			if row[i], err = strconv.ParseFloat(s, 64); err != nil {
				return nil, nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		rows = append(rows, row)
	}
	return all[0], rows, nil
}

func writeCSV(path string, header []string, rows [][]float64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	lines := [][]string{header}
	for _, r := range rows {
		line := make([]string, len(r))
		for i, v := range r {
			line[i] = strconv.FormatFloat(v, 'g', -1, 64)
		}
		lines = append(lines, line)
	}
	if err := w.WriteAll(lines); err != nil {
		return err
	}
	return f.Close()
}

func anys(row []float64) []any {
	out := make([]any, 0, len(row))
	for _, v := range row {
		out = append(out, v)
	}
	return out
}
