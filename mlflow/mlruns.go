package mlflow

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// FileStore is a local mlruns folder, as MLflow 1.x to 3.x write it when no
// server is set. It is only read.
//
// Form: mlflow/store/tracking/file_store.py of MLflow 3.17.
type FileStore struct {
	dir string
}

// OpenFileStore opens the folder that MLflow calls mlruns. The error matches
// [mlops.ErrInvalid] if it holds no experiments.
func OpenFileStore(dir string) (FileStore, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return FileStore{}, err
	}
	if _, err := os.Stat(abs); err != nil {
		return FileStore{}, err
	}
	f := FileStore{abs}
	list, err := f.folders(".")
	if err == nil && len(list) == 0 {
		err = invalid("OpenFileStore", "%s is no mlruns folder: no folder in it has a meta.yaml", dir)
	}
	return f, err
}

// meta is a meta.yaml: an experiment, a run, a data set or an input.
type meta struct {
	Lifecycle string `yaml:"lifecycle_stage"`

	ExperimentID string `yaml:"experiment_id"`
	Name         string `yaml:"name"`
	Location     string `yaml:"artifact_location"`
	Created      int64  `yaml:"creation_time"`
	Updated      int64  `yaml:"last_update_time"`

	RunID     string `yaml:"run_id"`
	RunUUID   string `yaml:"run_uuid"` // before MLflow 1.0
	RunName   string `yaml:"run_name"`
	User      string `yaml:"user_id"`
	Status    any    `yaml:"status"`
	Start     int64  `yaml:"start_time"`
	End       int64  `yaml:"end_time"`
	Artifacts string `yaml:"artifact_uri"`

	Digest     string            `yaml:"digest"`
	SourceType string            `yaml:"source_type"`
	Source     string            `yaml:"source"`
	Schema     string            `yaml:"schema"`
	Profile    string            `yaml:"profile"`
	SourceID   string            `yaml:"source_id"`
	Tags       map[string]string `yaml:"-"` // a list in runs, a map in inputs
}

func (f FileStore) meta(dir string) (meta, error) {
	var m meta
	name := filepath.Join(f.dir, filepath.FromSlash(dir), "meta.yaml")
	b, err := f.read(path.Join(dir, "meta.yaml"))
	if err != nil {
		return m, err
	}
	if err := yaml.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%s: %w", name, err)
	}
	var tagged struct {
		Tags map[string]string `yaml:"tags"`
	}
	if yaml.Unmarshal(b, &tagged) == nil {
		m.Tags = tagged.Tags
	}
	return m, nil
}

// read reads a file of the store.
func (f FileStore) read(name string) ([]byte, error) {
	file, err := openInside(f.dir, name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// folders lists the folders in dir that have a meta.yaml.
func (f FileStore) folders(dir string) ([]string, error) {
	list, err := os.ReadDir(filepath.Join(f.dir, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, d := range list {
		p := path.Join(dir, d.Name())
		if _, serr := os.Stat(filepath.Join(f.dir, filepath.FromSlash(p), "meta.yaml")); serr == nil && !strings.HasPrefix(d.Name(), ".") {
			out = append(out, p)
		}
	}
	return out, err
}

// texts reads a folder of files, one per key; a key with slashes has folders.
func (f FileStore) texts(dir string) (Tags, error) {
	out := Tags{}
	for key, err := range f.keys(dir) {
		if err != nil {
			return nil, err
		}
		b, err := f.read(path.Join(dir, key))
		if err != nil {
			return nil, err
		}
		out[key] = string(b)
	}
	return out, nil
}

func (f FileStore) keys(dir string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		root := filepath.Join(f.dir, filepath.FromSlash(dir))
		err := fs.WalkDir(os.DirFS(root), ".", func(p string, d fs.DirEntry, err error) error {
			switch {
			case p == "." && errors.Is(err, fs.ErrNotExist):
				return fs.SkipAll
			case err != nil || d.IsDir():
				return err
			case !yield(p, nil):
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield("", fmt.Errorf("%s: %w", root, err))
		}
	}
}

// Experiments lists the experiments, deleted ones included.
func (f FileStore) Experiments() iter.Seq2[Experiment, error] {
	return func(yield func(Experiment, error) bool) {
		for dir, err := range f.experiments() {
			if err != nil {
				yield(Experiment{}, err)
				return
			}
			m, err := f.meta(dir)
			if err != nil {
				yield(Experiment{}, err)
				return
			}
			tags, err := f.texts(path.Join(dir, "tags"))
			e := Experiment{ID: m.ExperimentID, Name: m.Name, ArtifactLocation: m.Location, Deleted: m.Lifecycle == "deleted",
				Created: millis(wireInt(m.Created)), Updated: millis(wireInt(m.Updated)), Tags: tags}
			if e.ID == "" {
				e.ID = path.Base(dir)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// experiments lists the folders of experiments. The folder models, of the
// registry, is none of them.
func (f FileStore) experiments() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, in := range []string{".", ".trash"} {
			list, err := f.folders(in)
			if err != nil {
				yield("", err)
				return
			}
			for _, dir := range list {
				if dir != "models" && !yield(dir, nil) {
					return
				}
			}
		}
	}
}

var fileStatuses = map[string]RunStatus{"1": RunRunning, "2": RunScheduled, "3": RunFinished, "4": RunFailed, "5": RunKilled}

// runs lists the runs of an experiment's folder, with tags, params and inputs;
// the points of metrics come by points.
func (f FileStore) runs(experiment string) iter.Seq2[storedRun, error] {
	return func(yield func(storedRun, error) bool) {
		list, err := f.folders(experiment)
		if err != nil {
			yield(storedRun{}, err)
			return
		}
		for _, dir := range list {
			r, err := f.run(dir)
			if err != nil {
				yield(storedRun{}, err)
				return
			}
			if r.ID != "" && !yield(r, nil) {
				return
			}
		}
	}
}

// storedRun is a run of a file store.
type storedRun struct {
	RunInfo
	dir string // within the store
}

func (f FileStore) run(dir string) (storedRun, error) {
	m, err := f.meta(dir)
	if err != nil {
		return storedRun{}, err
	}
	status := RunStatus(fmt.Sprint(m.Status))
	if s, ok := fileStatuses[string(status)]; ok {
		status = s
	}
	id := m.RunID
	if id == "" {
		id = m.RunUUID
	}
	r := storedRun{RunInfo{ID: id, Name: m.RunName, ExperimentID: m.ExperimentID, Status: status, User: m.User, Start: millis(wireInt(m.Start)), End: millis(wireInt(m.End)),
		ArtifactURI: m.Artifacts, Deleted: m.Lifecycle == "deleted"}, dir}
	if id == "" {
		return r, nil // the folder of something else
	}
	var terr, perr, ierr error
	r.Tags, terr = f.texts(path.Join(dir, "tags"))
	var params Tags
	params, perr = f.texts(path.Join(dir, "params"))
	r.Params = params
	if r.Name == "" {
		r.Name = r.Tags["mlflow.runName"]
	}
	r.Inputs, ierr = f.inputs(dir)
	return r, errors.Join(terr, perr, ierr)
}

func (f FileStore) inputs(run string) ([]DatasetInput, error) {
	list, err := f.folders(path.Join(run, "inputs"))
	var out []DatasetInput
	for _, dir := range list {
		in, err := f.meta(dir)
		if err != nil {
			return out, err
		}
		d, err := f.meta(path.Join(path.Dir(run), "datasets", in.SourceID))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a logged model went in, or the data set is gone
		}
		if err != nil {
			return out, err
		}
		input := DatasetInput{Name: d.Name, Digest: d.Digest, SourceType: d.SourceType, Source: d.Source, Schema: d.Schema, Profile: d.Profile}
		input.setTags(in.Tags)
		out = append(out, input)
	}
	return out, err
}

// points lists all points of a run's metrics.
func (f FileStore) points(run string) iter.Seq2[Metric, error] {
	return func(yield func(Metric, error) bool) {
		dir := path.Join(run, "metrics")
		for key, err := range f.keys(dir) {
			if err != nil {
				yield(Metric{}, err)
				return
			}
			name := filepath.Join(f.dir, filepath.FromSlash(dir), filepath.FromSlash(key))
			file, err := openInside(f.dir, path.Join(dir, key))
			if err != nil {
				yield(Metric{}, err)
				return
			}
			lines := bufio.NewScanner(file)
			n := 0
			for lines.Scan() {
				n++
				if strings.TrimSpace(lines.Text()) == "" {
					continue
				}
				m, err := readPoint(lines.Text())
				m.Key = key
				if err != nil {
					err = fmt.Errorf("%s:%d: %w", name, n, err)
				}
				if !yield(m, err) {
					file.Close()
					return
				}
			}
			err = lines.Err()
			file.Close()
			if err != nil {
				yield(Metric{}, fmt.Errorf("%s: %w", name, err))
				return
			}
		}
	}
}

// readPoint reads a line of a metric's file: time, value and, since MLflow
// 1.0, step; since 3.0 the name and digest of a data set may follow. MLflow
// writes the step before these, too, but forgets it when it reads.
func readPoint(line string) (Metric, error) {
	fields := strings.Fields(line)
	if n := len(fields); n != 2 && n != 3 && n != 5 {
		return Metric{}, invalid("Import", "want time, value and step, not %d fields", n)
	}
	at, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return Metric{}, err
	}
	v, err := strconv.ParseFloat(fields[1], 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // Python reads 1e999 as inf, and so does ParseFloat
		return Metric{}, err
	}
	m := Metric{Value: v, Time: time.UnixMilli(at).UTC()}
	if len(fields) == 2 {
		return m, nil
	}
	m.Step, err = strconv.ParseInt(fields[2], 10, 64)
	return m, err
}

// artifacts is the local folder of a run's artifacts, "" if it has none here.
func (f FileStore) artifacts(r storedRun) string {
	own := filepath.Join(filepath.FromSlash(r.dir), "artifacts")
	if isFolderIn(f.dir, own) {
		return filepath.Join(f.dir, own)
	}
	if p, ok := strings.CutPrefix(r.ArtifactURI, "file://"); ok { // only what is in the store: the file that says it may come from anywhere
		if in, err := filepath.Rel(f.dir, p); err == nil && filepath.IsLocal(in) && isFolderIn(f.dir, in) {
			return p
		}
	}
	return ""
}

// elsewhere is the address of a run's artifacts that are not in the store, so that
// Import does not copy them; "" for none. A store that was moved names a place of its own.
func (f FileStore) elsewhere(r storedRun) string {
	u, err := url.Parse(r.ArtifactURI)
	if r.ArtifactURI == "" || f.artifacts(r) != "" || err == nil && (u.Scheme == "file" || u.Scheme == "") && strings.HasSuffix(u.Path, "/"+r.dir+"/artifacts") {
		return ""
	}
	if err != nil {
		return "an address that cannot be read"
	}
	return u.Redacted()
}

// isFolderIn reports whether a folder is there, and no link on its way leads out.
func isFolderIn(dir, name string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer root.Close()
	info, err := root.Stat(name)
	return err == nil && info.IsDir()
}

// LeftOut counts what a store holds and Import does not bring over: logged and
// registered models, and traces, by what they are.
func (f FileStore) LeftOut() (map[string]int, error) {
	out := map[string]int{}
	count := func(what, dir string) error {
		list, err := f.folders(dir)
		if len(list) > 0 {
			out[what] += len(list)
		}
		return err
	}
	if err := count("registered models", "models"); err != nil {
		return nil, err
	}
	for dir, err := range f.experiments() {
		if err != nil {
			return nil, err
		}
		if err := count("logged models", path.Join(dir, "models")); err != nil {
			return nil, err
		}
		traces, err := os.ReadDir(filepath.Join(f.dir, filepath.FromSlash(dir), "traces"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if len(traces) > 0 {
			out["traces"] += len(traces)
		}
	}
	return out, nil
}

// ordered puts parents before their children, otherwise older runs first.
func ordered(runs []storedRun) []storedRun {
	byID := map[string]storedRun{}
	for _, r := range runs {
		byID[r.ID] = r
	}
	depth := func(r storedRun) int {
		n := 0
		for seen := map[string]bool{}; !seen[r.ID]; n++ {
			seen[r.ID] = true
			p, ok := byID[r.Tags[parentTag]]
			if !ok {
				break
			}
			r = p
		}
		return n
	}
	out := slices.Clone(runs)
	slices.SortStableFunc(out, func(a, b storedRun) int {
		if d := depth(a) - depth(b); d != 0 {
			return d
		}
		return a.Start.Compare(b.Start)
	})
	return out
}

const parentTag = "mlflow.parentRunId"
