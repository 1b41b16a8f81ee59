package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/mlops-integration/mlops/dvc"
)

// meter tells how a transfer goes: on a terminal as one line with rate and time
// left; with --json elsewhere as one event a line on stderr, four a second at
// most and always the last.
type meter struct {
	bar   *progress
	verb  string
	json  bool
	begun time.Time
	told  time.Time
	now   func() time.Time
}

func (e *env) meter(verb string) *meter {
	m := &meter{bar: e.progress(), verb: verb, json: e.json, now: time.Now}
	m.begun = m.now()
	return m
}

// progressJSON is an event of a transfer.
type progressJSON struct {
	Event          string  `json:"event"` // progress
	Verb           string  `json:"verb"`
	Done           int     `json:"done"`  // objects
	Total          int     `json:"total"` // grows while directories are looked into
	Bytes          int64   `json:"bytes"`
	TotalBytes     int64   `json:"total_bytes,omitempty"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	SecondsLeft    float64 `json:"seconds_left"` // as far as what is done tells
	Path           string  `json:"path,omitempty"`
}

// report takes what the library says. It is called for one object at a time.
func (m *meter) report(p dvc.Progress) {
	if m.bar.quiet || !m.bar.live && !m.json {
		return
	}
	now := m.now()
	if p.Done < p.Total && now.Sub(m.told) < 250*time.Millisecond {
		return
	}
	m.told = now
	ev := progressJSON{Event: "progress", Verb: m.verb, Done: p.Done, Total: p.Total, Bytes: p.DoneBytes, TotalBytes: p.TotalBytes, Path: p.Path}
	if took := now.Sub(m.begun).Seconds(); took > 0 {
		ev.BytesPerSecond = float64(p.DoneBytes) / took
		switch {
		case p.TotalBytes > 0 && p.DoneBytes > 0:
			ev.SecondsLeft = took / float64(p.DoneBytes) * float64(max(0, p.TotalBytes-p.DoneBytes))
		case p.Done > 0:
			ev.SecondsLeft = took / float64(p.Done) * float64(p.Total-p.Done)
		}
	}
	if m.bar.live {
		size := sizeText(p.DoneBytes)
		if p.TotalBytes > 0 {
			size += " of " + sizeText(max(p.TotalBytes, p.DoneBytes))
		}
		m.bar.set("%s: %d of %d objects, %s, %s/s, %s left", m.verb, p.Done, p.Total, size, sizeText(int64(ev.BytesPerSecond)),
			time.Duration(ev.SecondsLeft*float64(time.Second)).Round(time.Second))
		return
	}
	if line, err := json.Marshal(ev); err == nil {
		fmt.Fprintf(m.bar.w, "%s\n", line)
	}
}

func (m *meter) done() { m.bar.done() }
