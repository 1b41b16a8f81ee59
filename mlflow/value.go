package mlflow

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Metric is one point of a metric's history.
type Metric struct {
	Key   string
	Value float64 // NaN and ±Inf are values too; MLflow keeps ±Inf as ±[math.MaxFloat64]
	Time  time.Time
	Step  int64

	// ModelID attaches the point to a logged model too; empty: to the run only.
	ModelID string
}

type wireMetric struct {
	Key     string  `json:"key"`
	Value   number  `json:"value"`
	Time    wireInt `json:"timestamp"`
	Step    wireInt `json:"step"`
	ModelID string  `json:"model_id,omitempty"`
}

// UnmarshalJSON reads MLflow's form of a metric.
func (m *Metric) UnmarshalJSON(b []byte) error {
	var w wireMetric
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	*m = Metric{Key: w.Key, Value: float64(w.Value), Time: millis(w.Time), Step: int64(w.Step), ModelID: w.ModelID}
	return nil
}

// number is a float as MLflow's parser wants it: NaN and the infinities are
// exactly these texts. Anything else it stores as 0 without an error.
type number float64

func (n number) MarshalJSON() ([]byte, error) { return n.append(nil), nil }

// append writes finite values as encoding/json does.
func (n number) append(b []byte) []byte {
	f := float64(n)
	switch {
	case math.IsNaN(f):
		return append(b, `"NaN"`...)
	case math.IsInf(f, 1):
		return append(b, `"Infinity"`...)
	case math.IsInf(f, -1):
		return append(b, `"-Infinity"`...)
	}
	if a := math.Abs(f); a == 0 || a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, f, 'e', -1, 64)
	if n := len(b); b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' { // e-07 is e-7
		b = append(b[:n-2], b[n-1])
	}
	return b
}

// appendString writes s as a JSON text.
func appendString(b []byte, s string) []byte {
	if verbatim(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	quoted, err := json.Marshal(s)
	if err != nil { // of a string there is none
		return append(b, `""`...)
	}
	return append(b, quoted...)
}

// verbatim reports whether JSON writes s as it is.
func verbatim(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

func (n *number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64) // knows "NaN" and "Infinity"
	if err != nil {
		return fmt.Errorf("metric value %s: %w", b, err)
	}
	*n = number(f)
	return nil
}

// wireInt is an int64 that may arrive as a number or as a text; it never goes
// through a float, which would lose digits above 2^53.
type wireInt int64

func (n *wireInt) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" || s == "" {
		return nil
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return err
	}
	*n = wireInt(i)
	return nil
}

// millis is the time that MLflow writes as milliseconds; 0 is no time.
func millis(n wireInt) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(n)).UTC()
}

// Tags are keys with texts, as on experiments, runs and models.
type Tags map[string]string

type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// MarshalJSON writes MLflow's form, a list of keys and values.
func (t Tags) MarshalJSON() ([]byte, error) { return json.Marshal(keyValues(t)) }

// UnmarshalJSON reads MLflow's form, a list of keys and values.
func (t *Tags) UnmarshalJSON(b []byte) error {
	var list []keyValue
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*t = make(Tags, len(list))
	for _, kv := range list {
		(*t)[kv.Key] = kv.Value
	}
	return nil
}

// keyValues lists m in the order of its keys.
func keyValues(m map[string]string) []keyValue {
	out := make([]keyValue, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, keyValue{k, m[k]})
	}
	return out
}

// MLflow's limits. Longer parameter and tag values it cuts without a word,
// which is why they are refused here.
const (
	maxKey        = 250
	maxParamValue = 6000
	maxTagValue   = 8000
)

// checkKey reports a key that MLflow could not store as it is.
func checkKey(op, what, key string) error {
	switch {
	case key == "":
		return invalid(op, "a %s without a name", what)
	case !utf8.ValidString(key):
		return invalid(op, "%s %q: the name is not UTF-8", what, key)
	case strings.ContainsFunc(key, control):
		return invalid(op, "%s %q: MLflow takes no control characters in a name", what, key)
	case utf8.RuneCountInString(key) > maxKey:
		return invalid(op, "%s %.40q…: the name has %d characters, MLflow takes %d", what, key, utf8.RuneCountInString(key), maxKey)
	}
	return nil
}

// checkText reports a text that MLflow could not store as it is.
func checkText(op, what, text string) error {
	switch {
	case !utf8.ValidString(text):
		return invalid(op, "%s %.40q is not UTF-8", what, text)
	case strings.ContainsRune(text, 0):
		return invalid(op, "%s %.40q holds U+0000, which MLflow's database cannot store", what, text)
	}
	return nil
}

// checkRunName reports a name that MLflow could not give to a run.
func checkRunName(op, name string) error {
	if n := utf8.RuneCountInString(name); n > maxKey {
		return invalid(op, "the run's name %.40q… has %d characters, MLflow takes %d", name, n, maxKey)
	}
	return checkText(op, "the run's name", name)
}

// checkValue reports a text that MLflow would cut.
func checkValue(op, what, key, value string, limit int) error {
	if err := checkKey(op, what, key); err != nil {
		return err
	}
	if !utf8.ValidString(value) {
		return invalid(op, "%s %q: the value is not UTF-8", what, key)
	}
	if strings.ContainsRune(value, 0) {
		return invalid(op, "%s %q: the value holds U+0000, which MLflow's database cannot store", what, key)
	}
	if n := utf8.RuneCountInString(value); n > limit {
		return invalid(op, "%s %q: the value has %d characters; MLflow would cut it to %d, so it was not sent", what, key, n, limit)
	}
	return nil
}
