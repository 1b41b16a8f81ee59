package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"

	"github.com/mlops-integration/mlops/mlflow"
)

// number is a metric's value in JSON: NaN and the infinities, which JSON does
// not have, are texts.
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	var text string
	_ = json.Unmarshal(b, &text) // a number is no text
	switch text {
	case "NaN":
		*n = number(math.NaN())
	case "Infinity":
		*n = number(math.Inf(1))
	case "-Infinity":
		*n = number(math.Inf(-1))
	default:
		if err := json.Unmarshal(b, (*float64)(n)); err != nil {
			return fmt.Errorf("%s is not a number", b)
		}
	}
	return nil
}

func (n number) MarshalJSON() ([]byte, error) {
	f := float64(n)
	switch {
	case math.IsNaN(f):
		return []byte(`"NaN"`), nil
	case math.IsInf(f, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(f, -1):
		return []byte(`"-Infinity"`), nil
	}
	return json.Marshal(f)
}

// bareSpecial finds what Python's json writes for numbers that JSON does not
// have, and texts, so that they can be passed over.
var bareSpecial = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|-?Infinity|NaN`)

// quoteSpecials makes texts of bare NaN, Infinity and -Infinity.
func quoteSpecials(line []byte) []byte {
	return bareSpecial.ReplaceAllFunc(line, func(m []byte) []byte {
		if m[0] == '"' {
			return m
		}
		return []byte(`"` + string(m) + `"`)
	})
}

// numbers are the values of metrics by key.
func numbers(metrics []mlflow.Metric) map[string]number {
	out := map[string]number{}
	for _, m := range metrics {
		out[m.Key] = number(m.Value)
	}
	return out
}
