package mlflow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
)

// equalAnswers is how often in a row the server has to fail on the same records
// in the same way before they are suspected to be the reason.
const equalAnswers = 3

// stuck counts failures to send the same records.
type stuck struct {
	at     uint64 // number of the first of them
	status int
	code   string
	equal  int // failures of the server, one like the other
	all    int // failures of any kind, but for a server that is not there
}

// again notes another failure, and reports whether the server fails on these
// records time after time.
func (s *stuck) again(at uint64, err error) bool {
	if s.at != at {
		*s = stuck{at: at}
	}
	if !undelivered(err) {
		s.all++
	}
	e, ok := failing(err)
	if !ok {
		s.equal = 0
		return false
	}
	if e.Status != 0 && (s.status != e.Status || s.code != e.Code) {
		if s.status != 0 {
			s.equal = 0
		}
		s.status, s.code = e.Status, e.Code
	}
	s.equal++
	return s.equal >= equalAnswers
}

// holdsBack reports whether records that failed with err, and can wait, are to
// wait elsewhere. A server that is not there at all holds everything back.
func (s *stuck) holdsBack(err error) bool {
	_, answers := failing(err)
	return !undelivered(err) && (!answers || s.all >= equalAnswers)
}

// failing returns an answer that may be the fault of the server, or of what was
// sent: that it failed, or knows no such address, which is what it says of an
// artifact whose name has a line break. A connection that it closed is one, too:
// a server that fails before it has read all of an artifact is not heard.
func failing(err error) (*mlops.Error, bool) {
	e, ok := errors.AsType[*mlops.Error](err)
	switch {
	case !ok:
		return nil, false
	case e.Status == 0:
		return e, unsure(err) && brokenOff(err)
	case e.Status == 404:
		return e, isNotFound(err) && !hopeless(err)
	}
	return e, e.Status >= 500 && passing(err)
}

// brokenOff reports whether the other end closed the connection.
func brokenOff(err error) bool {
	for _, of := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, of) {
			return true
		}
	}
	return false
}

// undelivered reports whether nothing listens at the server's address.
func undelivered(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// artifact reports whether the record goes to the artifacts, and not to the run.
func (r record) artifact() bool {
	return r.kind == blobRecord || r.kind == fileRecord || r.kind == tableRecord
}

// isolate looks for the records of a batch on which the server fails, while it
// takes others of the same kind, and rejects them. known is its answer to the
// whole batch, and is returned if the server is the one that fails.
func (s *sender) isolate(ctx context.Context, at whereabouts, batch []record, known error, reject func(record, error)) error {
	w := runWriter{s.c, at}
	takes := w.takesTags
	if batch[0].artifact() {
		takes = w.takesFiles
	}
	if takes(ctx) != nil {
		return known
	}
	var found []refusal
	suspect := func(r record, err error) {
		found = append(found, refusal{r, fmt.Errorf("the server fails on it time after time, and takes others: %w", err)})
	}
	if k := batch[0].kind; k == metricRecord || k == paramRecord || k == tagRecord {
		whole := known
		if len(batch) == 1 {
			whole = nil
		}
		if err := w.split(ctx, batch, whole, &hunt{reject: reject, suspect: suspect}); err != nil {
			return err
		}
	} else if err := s.eachAlone(ctx, at, batch, reject, suspect); err != nil {
		return err
	}
	if len(found) > 0 && takes(ctx) != nil {
		return known // it was the server after all
	}
	for _, r := range found {
		reject(r.record, r.err)
	}
	return nil
}

// eachAlone sends the records of a batch one by one.
func (s *sender) eachAlone(ctx context.Context, at whereabouts, batch []record, reject, suspect func(record, error)) error {
	for _, r := range batch {
		err := s.send(ctx, at, []record{r}, reject)
		_, fails := failing(err)
		for n := 1; fails && n < equalAnswers; n++ {
			err = s.send(ctx, at, []record{r}, reject)
			_, fails = failing(err)
		}
		if fails {
			suspect(r, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// probeTag and probeFile are written, and deleted, to see whether the server
// takes anything at all.
const (
	probeTag  = "mlops.probe"
	probeFile = ".mlops-probe"
)

// takesTags is nil if the server stores a tag of the run.
func (w runWriter) takesTags(ctx context.Context) error {
	if err := w.c.SetRunTag(ctx, w.at.id, probeTag, time.Now().Format(time.RFC3339Nano)); err != nil {
		return err
	}
	return w.c.DeleteRunTag(ctx, w.at.id, probeTag)
}

// takesFiles is nil if the server stores an artifact of the run.
func (w runWriter) takesFiles(ctx context.Context) error {
	root, err := w.c.art.root(ctx, w.at.root)
	if err != nil {
		return err
	}
	err = w.c.art.putBytes(ctx, root, nil, probeFile)
	for n := 1; n < equalAnswers && brokenOff(err); n++ { // the connection on which it failed before is closed
		err = w.c.art.putBytes(ctx, root, nil, probeFile)
	}
	if err != nil {
		return err
	}
	store, err := w.c.art.store(root)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, join(root, probeFile)); passing(err) {
		return err
	}
	return nil // a store that deletes nothing keeps an empty file
}

// alive is nil if the server answers a question that its database has to answer,
// within some seconds.
func alive(ctx context.Context, c *Client) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, err := range c.Experiments(ctx, ExperimentQuery{Filter: "name = 'mlops.probe'"}) {
		return err
	}
	return nil
}
