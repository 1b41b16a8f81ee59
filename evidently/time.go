package evidently

import (
	"fmt"
	"strconv"
	"time"
)

// Time is a moment as Evidently writes it: without a zone.
//
// This package writes UTC and reads a time without a zone as UTC. Evidently's
// Python SDK writes the local time of the machine that it runs on.
type Time struct{ time.Time }

// layouts are the forms in which the service answers times.
var layouts = []string{
	"2006-01-02T15:04:05.999999999",
	"2006-01-02T15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
}

// ParseTime reads an ISO 8601 time with or without a zone.
func ParseTime(s string) (Time, error) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return Time{t.UTC()}, nil
		}
	}
	return Time{}, fmt.Errorf("time %q: want 2006-01-02T15:04:05.000000 with or without a zone", s)
}

// String returns the time as Evidently writes it, in UTC and to the microsecond.
func (t Time) String() string { return t.UTC().Format("2006-01-02T15:04:05.000000") }

// MarshalJSON writes the time in UTC without a zone; the zero time is null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return strconv.AppendQuote(nil, t.String()), nil
}

// UnmarshalJSON reads a time; null is the zero time.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	s, err := strconv.Unquote(string(b))
	if err != nil {
		return fmt.Errorf("time %s is not a text", b)
	}
	*t, err = ParseTime(s)
	return err
}
