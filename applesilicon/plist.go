package applesilicon

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Apple's XML property lists as powermetrics writes them: integers and reals
// stand for each other, and bare &, control characters, bytes that are no
// UTF-8, "-nan" and empty numbers occur. A number that is none is nil; a
// document that does not end is an error.

// maxDepth is far deeper than powermetrics nests.
const maxDepth = 64

var errTorn = errors.New("the document does not end")

type plistScanner struct {
	b     []byte
	depth int
}

// parsePlist reads the value of one document: map[string]any, []any, string,
// float64, bool or nil.
func parsePlist(b []byte) (any, error) {
	s := plistScanner{b: b}
	for {
		name, empty, err := s.tag()
		switch {
		case err != nil:
			return nil, err
		case name == "plist" && empty:
			return nil, errors.New("an empty document")
		case name != "plist":
			if strings.HasPrefix(name, "?") || strings.HasPrefix(name, "!") {
				continue
			}
			return nil, fmt.Errorf("<%s> instead of <plist>", clip(name))
		}
		break
	}
	name, empty, err := s.tag()
	if err != nil {
		return nil, err
	}
	v, err := s.value(name, empty)
	if err != nil {
		return nil, err
	}
	if name, _, err = s.tag(); err != nil {
		return nil, err
	}
	if name != "/plist" {
		return nil, fmt.Errorf("<%s> instead of </plist>", clip(name))
	}
	return v, nil
}

// tag goes to the next tag and returns its name, "/dict" for an end.
func (s *plistScanner) tag() (name string, empty bool, err error) {
	i := bytes.IndexByte(s.b, '<')
	if i < 0 {
		return "", false, errTorn
	}
	s.b = s.b[i+1:]
	if bytes.HasPrefix(s.b, []byte("!--")) {
		end := bytes.Index(s.b, []byte("-->"))
		if end < 0 {
			return "", false, errTorn
		}
		s.b = s.b[end+3:]
		return s.tag()
	}
	end := bytes.IndexByte(s.b, '>')
	if end < 0 {
		return "", false, errTorn
	}
	inside := s.b[:end]
	s.b = s.b[end+1:]
	if bytes.HasSuffix(inside, []byte("/")) {
		inside, empty = inside[:len(inside)-1], true
	}
	if i := bytes.IndexAny(inside, " \t\r\n"); i >= 0 {
		inside = inside[:i]
	}
	return string(inside), empty, nil
}

// text is what stands before the next end tag, which must be that of name.
func (s *plistScanner) text(name string) (string, error) {
	end := bytes.Index(s.b, []byte("</"))
	if end < 0 {
		return "", errTorn
	}
	raw := s.b[:end]
	s.b = s.b[end:]
	got, _, err := s.tag()
	if err != nil {
		return "", err
	}
	if got != "/"+name {
		return "", fmt.Errorf("<%s> instead of </%s>", clip(got), name)
	}
	t := strings.ToValidUTF8(string(raw), "\uFFFD")
	if strings.Contains(t, "&") {
		t = entities.Replace(t)
	}
	return t, nil
}

var entities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&quot;", `"`, "&apos;", "'", "&amp;", "&")

func (s *plistScanner) value(name string, empty bool) (any, error) {
	if s.depth++; s.depth > maxDepth {
		return nil, errors.New("nested too deep")
	}
	defer func() { s.depth-- }()
	switch name {
	case "true", "false":
		if !empty {
			if _, err := s.text(name); err != nil {
				return nil, err
			}
		}
		return name == "true", nil
	case "dict":
		return s.dict(empty)
	case "array":
		return s.array(empty)
	case "integer", "real", "string", "date", "data":
	default:
		return nil, fmt.Errorf("<%s> is no value", clip(name))
	}
	number := name == "integer" || name == "real"
	if empty {
		if number {
			return nil, nil
		}
		return "", nil
	}
	t, err := s.text(name)
	if err != nil || !number {
		return t, err
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(t), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, nil // a number that is none
	}
	return v, nil
}

func (s *plistScanner) dict(empty bool) (any, error) {
	out := map[string]any{}
	for !empty {
		name, none, err := s.tag()
		switch {
		case err != nil:
			return nil, err
		case name == "/dict":
			return out, nil
		case name != "key":
			return nil, fmt.Errorf("<%s> instead of <key>", clip(name))
		}
		key := ""
		if !none {
			if key, err = s.text("key"); err != nil {
				return nil, err
			}
		}
		if name, none, err = s.tag(); err != nil {
			return nil, err
		}
		if out[key], err = s.value(name, none); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *plistScanner) array(empty bool) (any, error) {
	var out []any
	for !empty {
		name, none, err := s.tag()
		if err != nil {
			return nil, err
		}
		if name == "/array" {
			return out, nil
		}
		v, err := s.value(name, none)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// clip keeps a name from a broken document short.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
