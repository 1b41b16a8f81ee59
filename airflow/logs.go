package airflow

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/transport"
)

// LogOptions say which log of a task is read.
type LogOptions struct {
	Try      int  // the attempt; 0: the latest, and with Follow those that come after it
	MapIndex *int // of a mapped task; nil: it is not mapped
	Follow   bool // wait for the task and go on until it is done; else what is there now
	LogFilter
}

// Logs yields the log of a task, line by line, each once.
//
// With Follow it begins when the task begins and ends when the task is done
// and its log no longer grows. Lines come as the server sends them; one that
// the server missed at first (it sorts by time, and a writer may be late) comes
// at the end. What the server says about where it looked for the log is left
// out, unless an attempt has no other line.
//
// A task that never began has no line. The error matches [mlops.ErrNotFound] if
// there is no such task or attempt.
//
// Airflow REST: GET /api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances/{task_id}/logs/{try_number}
func (c *Client) Logs(ctx context.Context, dagID, runID, taskID string, opt LogOptions) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		if opt.Level != "" && !slices.Contains(LogLevels, opt.Level) {
			yield(LogLine{}, invalid("Logs", "there is no level %.100q: want one of %s", opt.Level, strings.Join(LogLevels, ", ")))
			return
		}
		l := &logs{c: c, dagID: dagID, runID: runID, taskID: taskID, mapIndex: -1, filter: filter{LogFilter: opt.LogFilter}, yield: yield}
		if opt.MapIndex != nil {
			l.mapIndex = *opt.MapIndex
		}
		read := l.now
		if opt.Follow {
			read = l.follow
		}
		if err := read(ctx, opt.Try); err != nil && !errors.Is(err, errStop) {
			yield(LogLine{}, err)
		}
	}
}

// errStop says that the caller has read enough.
var errStop = errors.New("stop")

var seed = maphash.MakeSeed()

// logs reads the log of one task.
//
// Airflow pages by counting lines, of a log that it sorts by time at every
// look. A line that is written late but dated early shifts the count: one line
// comes twice and one never. So lines are distinguished here, and when an attempt
// is over its log is read once more as a whole for what is missing.
type logs struct {
	c                    *Client
	dagID, runID, taskID string
	mapIndex             int
	filter               filter
	yield                func(LogLine, error) bool

	try   int
	seen  map[uint64]int // how often each line of the attempt was yielded
	said  []LogLine      // where the server looked
	lines int            // yielded of the attempt
}

func (l *logs) begin(try int) {
	l.try, l.seen, l.said, l.lines = try, map[uint64]int{}, nil, 0
}

// now yields what the log holds.
func (l *logs) now(ctx context.Context, try int) error {
	if try == 0 {
		ti, err := l.task(ctx)
		if err != nil {
			return err
		}
		if try = ti.Try; try == 0 {
			return nil
		}
	}
	l.begin(try)
	if _, err := l.whole(ctx); err != nil {
		return err
	}
	return l.end()
}

// follow yields attempt after attempt, beginning with try or the latest.
func (l *logs) follow(ctx context.Context, try int) error {
	next := try
	for {
		ti, err := l.task(ctx)
		if err != nil {
			return err
		}
		n := ti.Try
		if try > 0 {
			n = try
		}
		waiting := ti.State == "" || ti.State == StateScheduled || ti.State == StateQueued
		if ti.State.Done() && n >= next || ti.Try > n || ti.Try == n && n >= next && !waiting {
			l.begin(n)
			if ti, err = l.attempt(ctx, ti); err != nil || try > 0 {
				return err
			}
			next = n + 1
		}
		if ti.State.Done() && ti.Try < next {
			return nil
		}
		if err := l.c.wait(ctx); err != nil {
			return err
		}
	}
}

// attempt follows one attempt to its end and returns the task as it is then.
func (l *logs) attempt(ctx context.Context, ti TaskInstance) (TaskInstance, error) {
	token, skip := "", 0
	over := func() bool { return ti.Try != l.try || ti.State.Done() || ti.State == StateUpForRetry }
	for !over() {
		var err error
		if token, skip, err = l.more(ctx, token, skip); err != nil {
			return ti, err
		}
		if err := l.c.wait(ctx); err != nil {
			return ti, err
		}
		if ti, err = l.task(ctx); err != nil {
			return ti, err
		}
	}
	// The task tells its end before it writes its last lines: look until a
	// while has passed without a new one.
	for first := true; ; first = false {
		fresh, err := l.whole(ctx)
		if err != nil {
			return ti, err
		}
		if fresh == 0 && !first {
			return ti, l.end()
		}
		if err := l.c.wait(ctx); err != nil {
			return ti, err
		}
	}
}

// more yields what was added since token. A line that is not yet written whole
// is left: then token stays, and skip of the lines after it are done.
func (l *logs) more(ctx context.Context, token string, skip int) (string, int, error) {
	out, err := do[struct {
		Content []LogLine `json:"content"`
		Token   string    `json:"continuation_token"`
	}](ctx, l.c, l.request("", token))
	switch {
	case errors.Is(err, mlops.ErrInvalid) && token != "":
		return "", 0, nil // the server's key is new; begin again, nothing is yielded twice
	case err != nil:
		return token, skip, err
	}
	lines := out.Content
	if token == "" {
		lines = l.withoutHeader(lines)
	}
	n := len(lines)
	torn := n > 0 && lines[n-1].Time.IsZero() && strings.HasPrefix(lines[n-1].Event, "{")
	if torn {
		n--
	}
	again := map[uint64]int{}
	for _, line := range lines[min(skip, n):n] {
		k := l.key(line)
		again[k]++
		// Without a token this is the log from its beginning, and may be
		// compared line for line; else only a dated line can be known again.
		known := l.seen[k] >= again[k]
		if token != "" {
			known = l.seen[k] > 0 && !line.Time.IsZero()
		}
		if known {
			continue
		}
		if err := l.give(k, line); err != nil {
			return token, skip, err
		}
	}
	if torn && token != "" {
		return token, n, nil
	}
	if torn {
		return "", 0, nil
	}
	return out.Token, 0, nil
}

// whole reads the attempt's log from its beginning, whatever its size, and
// yields the lines that were not yielded before. It returns how many.
func (l *logs) whole(ctx context.Context) (fresh int, err error) {
	r := l.request("application/x-ndjson", "")
	call, err := r.call()
	if err != nil {
		return 0, err
	}
	resp, err := transport.Open(ctx, l.c.way(), call)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()

	again := map[uint64]int{}
	in := bufio.NewReaderSize(resp.Body, 64<<10)
	header := []LogLine{}
	for {
		raw, rerr := in.ReadBytes('\n')
		if rerr != nil && rerr != io.EOF || rerr == io.EOF && len(raw) > 0 {
			return fresh, &mlops.Error{Kind: mlops.ErrUnavailable, Service: service, Op: "Logs", Cause: rerr, Message: fmt.Sprintf("the log broke off after %d lines: %v", l.lines, rerr)}
		}
		if rerr == io.EOF {
			l.withoutHeader(header)
			return fresh, nil
		}
		if len(bytes.TrimSpace(raw)) == 0 {
			continue
		}
		var line LogLine
		if err := json.Unmarshal(raw, &line); err != nil {
			return fresh, &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Op: "Logs", Cause: err, Message: "the answer holds a line that is not JSON: " + err.Error()}
		}
		if header != nil {
			header = append(header, line)
			if header[0].Event == headerBegin && line.Event != headerEnd {
				continue
			}
			lines := l.withoutHeader(header)
			header = nil
			if len(lines) == 0 {
				continue
			}
		}
		k := l.key(line)
		if again[k]++; again[k] <= l.seen[k] {
			continue
		}
		if err := l.give(k, line); err != nil {
			return fresh, err
		}
		fresh++
	}
}

const (
	headerBegin = "::group::Log message source details"
	headerEnd   = "::endgroup::"
)

// withoutHeader takes off what the server says about where it looked.
func (l *logs) withoutHeader(lines []LogLine) []LogLine {
	if len(lines) == 0 || lines[0].Event != headerBegin {
		return lines
	}
	for i, line := range lines {
		if line.Event == headerEnd {
			l.said = lines[1:i]
			return lines[i+1:]
		}
	}
	l.said = lines[1:]
	return nil
}

func (l *logs) key(line LogLine) uint64 { return maphash.String(seed, line.key()) }

func (l *logs) give(key uint64, line LogLine) error {
	l.seen[key]++
	l.lines++
	if !l.filter.takes(line) {
		return nil
	}
	line.TaskID, line.MapIndex, line.Try = l.taskID, l.mapIndex, l.try
	if !l.yield(line, nil) {
		return errStop
	}
	return nil
}

// end yields where the server looked if it found nothing there.
func (l *logs) end() error {
	if l.lines > 0 {
		return nil
	}
	for _, line := range l.said {
		if err := l.give(0, line); err != nil {
			return err
		}
	}
	return nil
}

func (l *logs) task(ctx context.Context) (TaskInstance, error) {
	return l.c.taskInstance(ctx, "Logs", l.dagID, l.runID, l.taskID, l.mapIndex)
}

func (l *logs) request(accept, token string) request {
	q := url.Values{}
	if l.mapIndex >= 0 {
		q.Set("map_index", strconv.Itoa(l.mapIndex))
	}
	if token != "" {
		q.Set("token", token)
	}
	return request{op: "Logs", method: "GET", path: "/dags/%s/dagRuns/%s/taskInstances/%s/logs/%s",
		ids: []string{l.dagID, l.runID, l.taskID, strconv.Itoa(l.try)}, query: q, accept: accept, again: true}
}
