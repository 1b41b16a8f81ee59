package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/drift/table"
	"github.com/mlops-integration/mlops/evidently"
)

// storeWithin bounds how long a verdict waits for the service to take its
// snapshot.
const storeWithin = time.Minute

// stackColumns is how many columns a snapshot may have for the stack's service,
// which takes 64 MiB: Evidently writes about 60 kB for each.
const stackColumns = 1000

// Drift compares current with reference data, both CSV or Parquet files, as
// Evidently does, and keeps the result as a snapshot of the project in the
// Evidently service. Relative paths start at the project's folder.
//
// It is computed in Go, unless a column of texts, a method or a file that Go does
// not read needs Evidently's own library and its Python is known; see
// [Project.DriftBy].
//
// The snapshot's metadata names the project and the hashes of both files, as DVC
// has them; what [Project.About] returns names the model that it is about.
//
// The service is asked for nothing before the comparison, and what becomes of
// the snapshot never costs the verdict: one that the service does not take
// within a minute waits on this machine, as the report's Unsent and Waiting
// say, and is sent once by the next Drift, [Client.SyncSnapshots], mlopsctl sync or
// the agent.
//
// The first call that needs Evidently's library starts a Python worker, which
// Close ends; it takes seconds.
func (p *Project) Drift(ctx context.Context, reference, current string, o evidently.DriftOptions) (evidently.DriftReport, error) {
	return p.DriftBy(ctx, "", reference, current, o)
}

// DriftBy is Drift by one engine. The native one skips the columns of texts, and
// refuses a method that it does not have; an empty engine leaves the choice to
// Drift, which takes it where there is a [evidently.DriftRule].
func (p *Project) DriftBy(ctx context.Context, engine DriftEngine, reference, current string, o evidently.DriftOptions) (evidently.DriftReport, error) {
	o.Metadata = maps.Clone(o.Metadata)
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	o.Metadata[tagProject] = p.join("/")
	if o.MaxColumns == 0 && p.Config.evidentlyServer() == stackServer {
		o.MaxColumns = stackColumns
	}
	reference, current = absIn(p.Dir, reference), absIn(p.Dir, current)
	_ = digests(ctx, o.Metadata, reference, current) // what cannot be read is told by the comparison
	report, err := p.compare(ctx, engine, reference, current, o)
	if err != nil {
		return report, err
	}
	if err := context.Cause(ctx); err != nil {
		return evidently.DriftReport{}, err
	}
	if !report.TooFew {
		p.keep(ctx, &report)
	}
	return report, nil
}

func (p *Project) compare(ctx context.Context, engine DriftEngine, reference, current string, o evidently.DriftOptions) (evidently.DriftReport, error) {
	if !o.Rule.IsZero() {
		if engine == EngineEvidently {
			return evidently.DriftReport{}, invalid("Evidently's library knows no rule beside its own, neither the data's quality; take the engine native")
		}
		engine = EngineNative
	}
	switch engine {
	case "":
		report, err := compareNative(ctx, reference, current, o, p.Config.EvidentlyPython != "")
		if !errors.Is(err, errNeedsEvidently) {
			return report, err
		}
	case EngineNative:
		return compareNative(ctx, reference, current, o, false)
	case EngineEvidently:
		if table.IsProfile(reference) || table.IsProfile(current) {
			return evidently.DriftReport{}, invalid("Evidently's library reads no profiles; take the engine native, or compare the data itself")
		}
	default:
		return evidently.DriftReport{}, invalid("there is no drift engine %q; there are %s and %s", engine, EngineNative, EngineEvidently)
	}
	r, err := p.driftRunner()
	if err != nil {
		return evidently.DriftReport{}, err
	}
	return r.Drift(ctx, reference, current, o)
}

// keep stores the report's snapshot in the service, or else on this machine.
func (p *Project) keep(ctx context.Context, r *evidently.DriftReport) {
	if len(r.Snapshot) == 0 {
		r.Unsent = invalid("there is no snapshot to keep: Evidently has none for columns without values")
		return
	}
	uid, snapshot, err := evidently.SnapshotUID(r.Snapshot)
	if err != nil {
		r.Unsent = fmt.Errorf("the snapshot is not kept: %w", err)
		return
	}
	r.Snapshot = snapshot
	q := snapshotQueue(p.settings.home)
	within, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	project, err := p.ensureDrift(within)
	if err == nil {
		r.SnapshotID, err = p.Evidently.AddSnapshot(within, project.ID, snapshot)
	}
	server := p.Config.evidentlyServer()
	if err == nil {
		_, _ = q.send(within, SnapshotSyncOptions{}, map[string]*evidently.Client{server: p.Evidently}) // those of earlier calls; the next one tries again
		return
	}
	r.Unsent = err
	r.Waiting, err = q.add(WaitingSnapshot{UID: uid, Server: server, Project: p.join("/"), Created: time.Now()}, snapshot)
	if err != nil {
		r.Unsent = fmt.Errorf("%w; the snapshot is not kept: %w", r.Unsent, err)
	}
}

// ensureDrift finds or makes the project in the Evidently service.
func (p *Project) ensureDrift(ctx context.Context) (evidently.Project, error) {
	return p.drift.get(func() (evidently.Project, error) { return p.Evidently.EnsureProject(ctx, p.join("/")) })
}

func (p *Project) driftRunner() (*evidently.Runner, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runner != nil {
		return p.runner, nil
	}
	if p.Config.EvidentlyPython == "" {
		return nil, invalid("drift is computed by a Python that has evidently: run mlopsctl setup, or set MLOPS_EVIDENTLY_PYTHON")
	}
	r, err := evidently.NewRunner(evidently.RunnerOptions{Python: p.Config.EvidentlyPython})
	if err != nil {
		return nil, err
	}
	p.runner = r
	return r, nil
}

// Snapshots lists the project's results in the Evidently service, and makes
// nothing there. The error matches [mlops.ErrNotFound] if there is no such
// project, neither there nor on MLflow.
func (p *Project) Snapshots(ctx context.Context) iter.Seq2[evidently.Snapshot, error] {
	return func(yield func(evidently.Snapshot, error) bool) {
		project, err := p.Evidently.ProjectByName(ctx, p.join("/"))
		if errors.Is(err, mlops.ErrNotFound) {
			if _, err = p.find(ctx); err == nil {
				return // nothing has been checked for drift yet
			}
		}
		if err != nil {
			yield(evidently.Snapshot{}, err)
			return
		}
		p.Evidently.Snapshots(ctx, project.ID)(yield)
	}
}
