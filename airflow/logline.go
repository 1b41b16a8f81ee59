package airflow

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// LogLine is one line of a task's log.
type LogLine struct {
	Time   time.Time      // zero: the line has none
	Level  string         // "info", "error", …; may be empty
	Logger string         // who wrote it; may be empty
	Event  string         // the text
	Fields map[string]any // whatever else the line holds, "error_detail" for one

	TaskID   string
	MapIndex int // -1: not mapped
	Try      int // the attempt that it belongs to
}

// UnmarshalJSON reads an object, or a bare text as older servers send it. A
// field of an unexpected type stays in Fields.
func (l *LogLine) UnmarshalJSON(b []byte) error {
	*l = LogLine{MapIndex: -1}
	if json.Unmarshal(b, &l.Event) == nil {
		return nil
	}
	l.Event = ""
	if err := json.Unmarshal(b, &l.Fields); err != nil {
		return err
	}
	take := func(key string, set func(string) bool) {
		v, ok := l.Fields[key]
		if s, isText := v.(string); !ok || v != nil && (!isText || !set(s)) {
			return
		}
		delete(l.Fields, key)
	}
	text := func(p *string) func(string) bool {
		return func(s string) bool { *p = s; return true }
	}
	take("event", text(&l.Event))
	take("level", text(&l.Level))
	take("logger", text(&l.Logger))
	take("timestamp", func(s string) bool {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t, err = time.Parse("2006-01-02T15:04:05", s) // without a zone: UTC
		}
		l.Time = t
		return err == nil
	})
	if len(l.Fields) == 0 {
		l.Fields = nil
	}
	return nil
}

// String returns the line as a person reads it: time, level, text, and below
// it what was raised.
func (l LogLine) String() string {
	var b strings.Builder
	if !l.Time.IsZero() {
		b.WriteString(l.Time.Format("2006-01-02T15:04:05.000Z07:00 "))
	}
	if l.Level != "" {
		fmt.Fprintf(&b, "%-7s ", strings.ToUpper(l.Level))
	}
	b.WriteString(l.Event)
	raised, _ := l.Fields["error_detail"].([]any)
	for _, r := range raised {
		if m, ok := r.(map[string]any); ok {
			fmt.Fprintf(&b, "\n  %v: %v", m["exc_type"], m["exc_value"])
		}
	}
	return b.String()
}

// key tells lines apart, as far as they differ.
func (l LogLine) key() string {
	fields, err := json.Marshal(l.Fields)
	if err != nil {
		fields = nil // came from JSON, so it goes back
	}
	return fmt.Sprintf("%d\x00%s\x00%s\x00%s\x00%s", l.Time.UnixNano(), l.Level, l.Logger, l.Event, fields)
}
