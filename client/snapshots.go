package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
	"github.com/mlops-integration/mlops/internal/lockfile"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// WaitingSnapshot is a drift snapshot on this machine that the Evidently
// service does not have.
type WaitingSnapshot struct {
	UID     string    `json:"uid"`     // made here; the snapshot is looked for by it before it is sent
	Server  string    `json:"server"`  // a URL, or "stack"
	Project string    `json:"project"` // in the service
	Created time.Time `json:"created"`
	Refused string    `json:"refused,omitempty"` // why the service never takes it; it is kept and not sent again

	Path       string `json:"-"`
	SizeBytes  int64  `json:"-"`
	SnapshotID string `json:"-"` // from SyncSnapshots: the service has it now
	Err        error  `json:"-"` // from SyncSnapshots: why it was not sent
}

// Discard deletes the snapshot, unsent.
func (w WaitingSnapshot) Discard() error { return os.Remove(w.Path) }

// SnapshotSyncOptions say which snapshots are tried. The zero value tries all.
type SnapshotSyncOptions struct {
	MaxAge time.Duration // older ones are left alone; 0: none
	// Patience is how long a snapshot is left alone that the service, although
	// it was there, did not take; 0: not at all.
	Patience time.Duration
}

// WaitingSnapshots lists the snapshots of this home that wait, the oldest
// first. It makes no request.
func (c *Client) WaitingSnapshots() iter.Seq2[WaitingSnapshot, error] {
	return func(yield func(WaitingSnapshot, error) bool) {
		if err := c.opened(); err != nil {
			yield(WaitingSnapshot{}, err)
			return
		}
		for _, w := range snapshotQueue(c.settings.home).list() {
			if !yield(w, nil) {
				return
			}
		}
	}
}

// SyncSnapshots sends the snapshots of this home that wait, each to its server:
// the configured one, or that of the running stack. A snapshot that cannot be
// sent has an Err and holds no other. One that the service refuses for good is
// kept and marked.
func (c *Client) SyncSnapshots(ctx context.Context, opt SnapshotSyncOptions) ([]WaitingSnapshot, error) {
	if err := c.opened(); err != nil {
		return nil, err
	}
	q := snapshotQueue(c.settings.home)
	if len(q.list()) == 0 {
		return nil, nil
	}
	known, err := c.snapshotServers()
	if err != nil {
		return nil, err
	}
	return q.send(ctx, opt, known)
}

// evidentlyServer is the name that waiting snapshots have for the service: the
// stack's port may be another one when they are sent.
func (c Config) evidentlyServer() string {
	if c.sources["evidently.url"] == fromStack {
		return stackServer
	}
	return c.EvidentlyURL
}

// snapshotServers are the services that configuration leads to, by the name
// that waiting snapshots have for them.
func (c *Client) snapshotServers() (map[string]*evidently.Client, error) {
	name := c.Config.evidentlyServer()
	known := map[string]*evidently.Client{name: c.Evidently}
	stack, err := stackfile.Read(c.settings.home)
	if name == stackServer || errors.Is(err, mlops.ErrNotFound) {
		return known, nil
	}
	e := stack.Endpoints[stackfile.Evidently]
	if err != nil || e.URL == "" {
		return known, err
	}
	secret, err := e.Secret()
	if err != nil {
		return known, err
	}
	known[stackServer], err = evidently.New(evidently.Options{
		URL: e.URL, Auth: mlops.Auth{Token: secret, Header: evidently.SecretHeader}, HTTP: c.settings.http, Logger: c.settings.logger,
	})
	return known, err
}

// queue is the folder in which snapshots wait, one file each: a line about it,
// and the snapshot. A file's time of change is when the service last did not
// take it; zero for one that was not tried.
type queue string

func snapshotQueue(home string) queue { return queue(filepath.Join(home, "spool", "evidently")) }

const waitingForm = 1

type waitingHeader struct {
	Form int `json:"form"`
	WaitingSnapshot
}

// add writes a snapshot down. When it returns nil, the disk has it.
func (q queue) add(w WaitingSnapshot, snapshot json.RawMessage) (string, error) {
	if err := os.MkdirAll(string(q), 0o700); err != nil {
		return "", err
	}
	head, err := json.Marshal(waitingHeader{waitingForm, w})
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(string(q), ".new-*") // 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(slices.Concat(head, []byte("\n"), snapshot))
	path := filepath.Join(string(q), w.UID+".snapshot")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := os.Chtimes(f.Name(), time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		return "", err
	}
	return path, os.Rename(f.Name(), path)
}

// list returns what waits, the oldest first. A file that cannot be read, or
// that a newer mlopsctl wrote, is there with an Err.
func (q queue) list() []WaitingSnapshot {
	files, _ := filepath.Glob(filepath.Join(string(q), "*.snapshot")) // the pattern is well formed
	var out []WaitingSnapshot
	for _, path := range files {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // sent meanwhile
		}
		w := WaitingSnapshot{Path: path}
		if err == nil {
			w, _, err = readWaiting(f)
			f.Close()
		}
		w.Err = err
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(a, b WaitingSnapshot) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Path, b.Path))
	})
	return out
}

// readWaiting reads the line about a snapshot; what follows is the snapshot.
func readWaiting(f *os.File) (WaitingSnapshot, io.Reader, error) {
	in := bufio.NewReader(f)
	line, err := in.ReadBytes('\n')
	var h waitingHeader
	if err == nil {
		err = json.Unmarshal(line, &h)
	}
	w := h.WaitingSnapshot
	w.Path = f.Name()
	if info, serr := f.Stat(); serr == nil {
		w.SizeBytes = info.Size() - int64(len(line))
	}
	switch {
	case err != nil:
		return w, nil, invalid("%s is damaged: %v", w.Path, err)
	case h.Form > waitingForm:
		return w, nil, &mlops.Error{Kind: mlops.ErrUnsupported, Message: fmt.Sprintf("%s was written by a newer mlopsctl and is left alone", w.Path)}
	case w.UID == "" || w.Project == "":
		return w, nil, invalid("%s is damaged: it does not name its project", w.Path)
	}
	return w, in, nil
}

// send tries what waits for the known servers. A server that does not answer
// is asked once.
func (q queue) send(ctx context.Context, opt SnapshotSyncOptions, known map[string]*evidently.Client) ([]WaitingSnapshot, error) {
	away := map[string]error{}
	list := q.list()
	for i := range list {
		w := &list[i]
		if ctx.Err() != nil {
			return list, context.Cause(ctx)
		}
		if w.Err != nil || w.Refused != "" || opt.MaxAge > 0 && time.Since(w.Created) > opt.MaxAge {
			continue
		}
		c := known[w.Server]
		if c == nil {
			w.Err = snapshotElsewhere(w.Server)
			continue
		}
		if _, asked := away[w.Server]; !asked {
			_, away[w.Server] = c.Version(ctx)
		}
		if w.Err = away[w.Server]; w.Err == nil {
			w.Err = q.sendOne(ctx, w, c, opt.Patience)
		}
	}
	return list, nil
}

// sendOne sends a snapshot that no other program is sending.
func (q queue) sendOne(ctx context.Context, w *WaitingSnapshot, c *evidently.Client, patience time.Duration) error {
	f, err := os.OpenFile(w.Path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // sent by another
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if lockfile.Try(f) != nil {
		return nil // another is sending it
	}
	mine, err := f.Stat()
	if err != nil || !lockfile.Current(f) {
		return err // sent, or marked, by another
	}
	if time.Since(mine.ModTime()) < patience {
		return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "evidently", Op: "SyncSnapshots", Message: "the service did not take it; it is tried again later"}
	}
	_, rest, err := readWaiting(f)
	if err != nil {
		return err
	}
	snapshot, err := io.ReadAll(rest)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	w.SnapshotID, err = deliver(ctx, c, *w, bytes.TrimSpace(snapshot))
	switch {
	case err == nil:
		return os.Remove(w.Path)
	case refused(err):
		w.Refused = err.Error()
		_, werr := q.add(*w, snapshot)
		return errors.Join(err, werr)
	case ctx.Err() == nil:
		now := time.Now()
		return errors.Join(err, os.Chtimes(w.Path, now, now))
	}
	return err
}

// refused reports whether the service answered that the snapshot, as it is, can
// never be stored: it is too large, or of a form that it does not know.
func refused(err error) bool {
	e, ok := errors.AsType[*mlops.Error](err)
	return ok && errors.Is(err, mlops.ErrInvalid) && e.Status >= 400 && e.Status < 500
}

// deliver stores a snapshot unless the service has it.
func deliver(ctx context.Context, c *evidently.Client, w WaitingSnapshot, snapshot json.RawMessage) (string, error) {
	project, err := c.EnsureProject(ctx, w.Project)
	if err != nil {
		return "", err
	}
	there, err := c.SnapshotByUID(ctx, project.ID, w.UID)
	if !errors.Is(err, mlops.ErrNotFound) {
		return there.ID, err
	}
	return c.AddSnapshot(ctx, project.ID, snapshot)
}

// snapshotElsewhere is the error for a snapshot whose server nothing leads to.
func snapshotElsewhere(server string) error {
	msg := fmt.Sprintf("it is for %s; set MLOPS_EVIDENTLY_URL to that, and its secret, to send it", server)
	if server == stackServer {
		msg = "it is for the stack of this home, which does not run; run: mlopsctl start evidently"
	}
	return &mlops.Error{Kind: mlops.ErrUnavailable, Service: "evidently", Op: "SyncSnapshots", Message: msg}
}
