package mlflow

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/internal/pyrepr"
)

// PyString prints v as Python's str does: 1.0, 1e-05, True, None, [1, 'a'].
// Parameters are logged in this spelling, because MLflow refuses a second,
// different spelling of a parameter. Maps print with sorted keys; a value that
// has a text form of its own (fmt.Stringer, encoding.TextMarshaler) prints
// that. The result is always valid UTF-8.
func PyString(v any) string {
	s, ok := v.(string)
	if !ok {
		s = pyValue(reflect.ValueOf(v), false, 0)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// most is how deep values nest before the rest is left out.
const most = 50

func pyValue(v reflect.Value, quote bool, depth int) string {
	if !v.IsValid() {
		return "None"
	}
	if depth > most {
		return "..."
	}
	if s, ok := ownText(v); ok {
		if quote {
			return pyrepr.String(s)
		}
		return s
	}
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return "True"
		}
		return "False"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return strconv.FormatUint(v.Uint(), 10)
	case reflect.Float32:
		return pyrepr.Float(v.Float(), 32)
	case reflect.Float64:
		return pyrepr.Float(v.Float(), 64)
	case reflect.String:
		if quote {
			return pyrepr.String(v.String())
		}
		return v.String()
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return "None"
		}
		return pyValue(v.Elem(), quote, depth+1)
	case reflect.Slice, reflect.Array:
		return pyList(v, depth)
	case reflect.Map:
		return pyDict(v, depth)
	}
	if v.CanInterface() {
		return fmt.Sprintf("%+v", v.Interface())
	}
	return fmt.Sprintf("%+v", v)
}

// ownText is the text of a value that brings its own.
func ownText(v reflect.Value) (string, bool) {
	if !v.CanInterface() || (v.Kind() == reflect.Pointer && v.IsNil()) {
		return "", false
	}
	switch t := v.Interface().(type) {
	case time.Time:
		if t.Nanosecond()/1000 == 0 {
			return t.Format("2006-01-02 15:04:05-07:00"), true
		}
		return t.Format("2006-01-02 15:04:05.000000-07:00"), true
	case json.Number:
		return t.String(), true
	case fmt.Stringer, error:
		return fmt.Sprint(t), true // fmt survives a String method that panics
	case encoding.TextMarshaler:
		if b, err := t.MarshalText(); err == nil {
			return string(b), true
		}
	}
	return "", false
}

func pyList(v reflect.Value, depth int) string {
	if v.Kind() == reflect.Slice && v.IsNil() {
		return "[]"
	}
	if v.Type().Elem().Kind() == reflect.Uint8 && v.Kind() == reflect.Slice {
		return pyBytes(v.Bytes())
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = pyValue(v.Index(i), true, depth+1)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func pyDict(v reflect.Value, depth int) string {
	parts := make([]string, 0, v.Len())
	for _, k := range v.MapKeys() {
		parts = append(parts, pyValue(k, true, depth+1)+": "+pyValue(v.MapIndex(k), true, depth+1))
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}

// pyBytes is Python's repr of bytes.
func pyBytes(s []byte) string {
	q := byte(pyrepr.Mark(string(s)))
	var b strings.Builder
	b.WriteByte('b')
	b.WriteByte(q)
	for _, c := range s {
		switch {
		case c == q || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < 0x20 || c >= 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte(q)
	return b.String()
}
