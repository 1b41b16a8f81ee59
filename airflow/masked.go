package airflow

import (
	"encoding/json"
	"strings"

	"github.com/mlops-integration/mlops"
)

// mask is what the server shows instead of a value that it hides.
const mask = "***"

// Masked is a value that the server may hide: passwords, and whatever has a name
// that sounds secret, but for numbers. A text of which it hides a part, as in
// "postgres://etl:***@db", is hidden. The zero value is an empty one.
type Masked struct {
	Value  mlops.Secret // empty if Hidden
	Hidden bool         // there is a value, which the server does not show
}

// String never tells the value.
func (m Masked) String() string {
	if m.Hidden {
		return mask
	}
	return m.Value.String()
}

// UnmarshalJSON reads a text or null.
func (m *Masked) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*m = Masked{}
	switch {
	case s == nil:
	case strings.Contains(*s, mask) || *s == "< hidden >":
		m.Hidden = true
	default:
		m.Value = mlops.Secret(*s)
	}
	return nil
}

// MarshalJSON never tells the value either: it is "[redacted]". A hidden one is an
// error, so that what was read cannot be written back as asterisks.
func (m Masked) MarshalJSON() ([]byte, error) {
	if m.Hidden {
		return nil, &mlops.Error{Kind: mlops.ErrInvalid, Service: service, Message: "the server hides this value: set it before it is written"}
	}
	return json.Marshal(m.Value)
}

// unmasked reports as an error that v holds what was shown instead of a value,
// by the server or by an [mlops.Secret]: written, it would replace the value.
func unmasked(op, what string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return invalid(op, "%s: %v", what, err)
	}
	var plain any
	if err := json.Unmarshal(b, &plain); err != nil {
		return invalid(op, "%s: %v", what, err)
	}
	if hasMask(plain) {
		return invalid(op, "%s holds %s or %s, which stand for a value that is not shown: set the value, a secret as string(secret)", what, mask, mlops.Redacted)
	}
	return nil
}

func hasMask(v any) bool {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, mask) || strings.Contains(v, mlops.Redacted) {
			return true
		}
		var inner any // a text that holds JSON, as extra does
		if err := json.Unmarshal([]byte(v), &inner); err == nil {
			if _, text := inner.(string); !text {
				return hasMask(inner)
			}
		}
	case map[string]any:
		for _, x := range v {
			if hasMask(x) {
				return true
			}
		}
	case []any:
		for _, x := range v {
			if hasMask(x) {
				return true
			}
		}
	}
	return false
}

// masking replaces what the server hides within v by [Masked] values.
func masking(v any) any {
	switch x := v.(type) {
	case string:
		if strings.Contains(x, mask) {
			return Masked{Hidden: true}
		}
	case map[string]any:
		for k := range x {
			x[k] = masking(x[k])
		}
	case []any:
		for i := range x {
			x[i] = masking(x[i])
		}
	}
	return v
}
