package mlflow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/mlops-integration/mlops/internal/spool"
)

// ImportOptions say what Import does.
type ImportOptions struct {
	DryRun   bool           // change nothing, tell what would be done
	Progress func(Imported) // called as runs are done with
}

// Imported is what became of one run of a file store.
type Imported struct {
	Experiment string // its name
	OldID      string
	RunID      string // the server's; empty after a dry run of a run that is not there
	Name       string
	Outcome    ImportOutcome
	Points     int // of metrics
	Params     int
	Artifacts  int    // files
	Elsewhere  string // address of artifacts that are not in the folder, and were not copied; empty: there are none
	Err        error  // with "imported": what the server refused of it
}

// ImportOutcome is what Import did with a run.
type ImportOutcome string

// The outcomes of an import.
const (
	ImportDone    ImportOutcome = "imported"
	ImportPresent ImportOutcome = "present" // it was there already
	ImportDeleted ImportOutcome = "deleted" // in the file store, and so left out
	ImportNew     ImportOutcome = "new"     // it would be imported: after a dry run
	ImportFailed  ImportOutcome = "failed"
)

// importedTag is set on a run when all of it is there; its value is the source.
const importedTag = "mlops.imported_from"

// Import brings the experiments and runs of a local mlruns folder to the
// server: with their names, times, statuses, params, tags, data sets, whole
// metric histories and artifacts. Experiments of the same name become one.
// Runs that were deleted, and those of deleted experiments, are left out, and
// so is what [FileStore.LeftOut] counts.
//
// A run is imported once, however often Import is called: it has its old ID as
// UID, so that it is found by that. One that was broken off is resumed. A
// run that fails has an Err; the others are imported all the same. The error is
// for a folder that cannot be read, a server that is away, or the end of ctx.
//
// MLflow REST: POST runs/create, runs/log-batch, runs/log-inputs, runs/update, PUT mlflow-artifacts
func (c *Client) Import(ctx context.Context, from FileStore, opt ImportOptions) ([]Imported, error) {
	if err := c.usable("Import"); err != nil {
		return nil, err
	}
	names := map[string]string{} // of the experiment, by the run's old ID
	inTrash := map[string]bool{} // runs of deleted experiments
	homes := map[string]string{} // ID of the experiment on the server, by its name
	in := importer{c: c, from: from, dry: opt.DryRun, theirs: map[string]string{}}
	var runs []storedRun
	for dir, err := range from.experiments() {
		if err != nil {
			return nil, err
		}
		m, err := from.meta(dir)
		if err != nil {
			return nil, err
		}
		deleted := m.Lifecycle == "deleted" // in the file store, and so left out
		n := 0
		for r, err := range from.runs(dir) {
			if err != nil {
				return nil, err
			}
			names[r.ID], inTrash[r.ID] = m.Name, deleted
			runs = append(runs, r)
			n++
		}
		if deleted || opt.DryRun || m.Name == "Default" && n == 0 {
			continue
		}
		tags, err := from.texts(dir + "/tags")
		if err != nil {
			return nil, err
		}
		e, err := c.EnsureExperiment(ctx, m.Name, ExperimentOptions{Tags: tags})
		if err != nil {
			return nil, err
		}
		homes[m.Name] = e.ID
	}
	var out []Imported
	for _, r := range ordered(runs) {
		done := Imported{Experiment: names[r.ID], OldID: r.ID, Name: r.Name}
		if inTrash[r.ID] || r.Deleted {
			done.Outcome = ImportDeleted
		} else {
			in.run(ctx, r, homes[done.Experiment], &done)
			in.theirs[r.ID] = done.RunID
		}
		if done.Err != nil && done.Outcome != ImportDone {
			done.Outcome = ImportFailed
		}
		if opt.Progress != nil {
			opt.Progress(done)
		}
		out = append(out, done)
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if passing(done.Err) {
			return out, done.Err
		}
	}
	return out, nil
}

// importUID is the client-made ID of an imported run: its old ID, if that
// looks like one.
func importUID(old string) string {
	if isUID(old) {
		return old
	}
	sum := sha256.Sum256([]byte(old))
	return hex.EncodeToString(sum[:16])
}

// importer brings the runs of a file store to a server.
type importer struct {
	c      *Client
	from   FileStore
	dry    bool
	theirs map[string]string // ID of the run on the server, by its old ID
}

// run brings one run over and notes in done what it did.
func (in importer) run(ctx context.Context, r storedRun, experiment string, done *Imported) {
	there, err := in.c.RunInfo(ctx, importUID(r.ID))
	switch {
	case err == nil && (there.UID == "" || there.Deleted || there.Tags[importedTag] != ""):
		done.RunID, done.Outcome = there.ID, ImportPresent
		return
	case err != nil && !isNotFound(err):
		done.Err = err
		return
	}
	local := in.from.artifacts(r)
	var files []string
	if local != "" {
		if files, done.Err = localFiles(local); done.Err != nil {
			return
		}
	}
	done.Params, done.Artifacts, done.Elsewhere = len(r.Params), len(files), in.from.elsewhere(r)
	if in.dry {
		done.Outcome = ImportNew
		for _, err := range in.from.points(r.dir) {
			if err != nil {
				done.Err = err
				return
			}
			done.Points++
		}
		return
	}
	at, err := in.head(ctx, r, experiment)
	if err != nil {
		done.Err = err
		return
	}
	done.RunID, done.Outcome = at.id, ImportDone
	refused, err := in.body(ctx, r, at, done)
	if err == nil && local != "" {
		err = in.c.UploadDir(ctx, at.id, local, "")
	}
	if err == nil && r.Status != RunRunning {
		err = in.c.UpdateRun(ctx, at.id, RunUpdate{Status: r.Status, End: r.End})
	}
	if err == nil {
		err = runWriter{in.c, at}.logBatch(ctx, []record{{kind: tagRecord, key: importedTag, text: "file://" + filepath.ToSlash(filepath.Join(in.from.dir, r.dir))}})
	}
	if err != nil {
		done.Outcome = ImportFailed
	}
	done.Err = errors.Join(append(refused, err)...)
}

// head makes the run, or finds it where an import was broken off.
func (in importer) head(ctx context.Context, r storedRun, experiment string) (whereabouts, error) {
	tags := Tags{"mlflow.user": r.User}
	for k, v := range r.Tags {
		if k == parentTag && in.theirs[v] != "" {
			v = in.theirs[v]
		}
		tags[k] = v
	}
	h := head{Server: in.c.out.server(), UID: importUID(r.ID), Create: &create{Experiment: experimentRef{ID: experiment}, Name: r.Name, Start: r.Start.UnixMilli(), Tags: tags}}
	s := in.c.out.idleSender(ctx, spool.Create("", h.UID, nil, spool.Options{}), h)
	defer s.stop()
	s.asked = true // an import that was broken off may have
	return once(ctx, in.c, func() (whereabouts, error) { return s.create(ctx) },
		func() (whereabouts, bool, error) { return whereabouts{}, false, nil }) // create itself looks for the run
}

// body sends what was logged to the run. What the server refuses is
// returned; the rest is sent.
func (in importer) body(ctx context.Context, r storedRun, at whereabouts, done *Imported) ([]error, error) {
	var refused []error
	reject := func(r record, err error) { refused = append(refused, fmt.Errorf("%s: %w", r, err)) }
	var ahead []record
	w := runWriter{in.c, at}
	send := func(all bool) error {
		for len(ahead) >= maxEntries || all && len(ahead) > 0 {
			n := batchSize(ahead)
			if err := w.send(ctx, nil, ahead[:n], reject); err != nil {
				return err
			}
			ahead = ahead[n:]
		}
		return nil
	}
	for _, kv := range keyValues(r.Params) {
		if err := checkValue("Import", "param", kv.Key, kv.Value, maxParamValue); err != nil {
			refused = append(refused, err)
			continue
		}
		ahead = append(ahead, record{kind: paramRecord, key: kv.Key, text: kv.Value})
	}
	for _, input := range r.Inputs {
		b, err := json.Marshal(input)
		if err != nil {
			return refused, err
		}
		ahead = append(ahead, record{kind: inputRecord, text: string(b)})
	}
	for m, err := range in.from.points(r.dir) {
		if err != nil {
			refused = append(refused, err)
			continue
		}
		done.Points++
		ahead = append(ahead, record{kind: metricRecord, key: m.Key, value: m.Value, millis: m.Time.UnixMilli(), step: m.Step})
		if err := send(false); err != nil {
			return refused, err
		}
	}
	return refused, send(true)
}
