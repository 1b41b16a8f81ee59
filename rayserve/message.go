package rayserve

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"

	"github.com/mlops-integration/mlops"
)

var (
	ansi = regexp.MustCompile(`\x1b\[[0-9;:?]*[ -/]*[@-~]`)
	// a path on the server: three parts or more, not within a URL or a word
	serverPath = regexp.MustCompile(`(^|[\s"'(=,\[])(?:/[^/\s"'():,\]]+){2,}/([^/\s"'():,\]]+)`)
	// the last line of a traceback: "package.module.SomeError: words"
	exception = regexp.MustCompile(`^[A-Za-z_][\w.]*(\([\w.]+\))?(: |$)`)
	// Ray's guess at a cause, which it then names
	guess = regexp.MustCompile(`\. This may be due to [^\n]*See controller logs for details\. Error:\s*`)
)

// readable is what a person needs of a message of Ray's: colours are taken
// out, a Python traceback is reduced to its last exception, and a path on the
// server to its last part.
func readable(msg string) string {
	msg = strings.ToValidUTF8(ansi.ReplaceAllString(msg, ""), "")
	lines := strings.FieldsFunc(msg, func(r rune) bool { return r == '\n' || r == '\r' })
	if from := traceback(lines); from >= 0 {
		kept := lines[:from:from]
		if last := lastException(lines[from:]); last != "" {
			kept = append(kept, last)
		}
		lines = kept
	}
	for i, l := range lines {
		lines[i] = serverPath.ReplaceAllString(strings.TrimSpace(l), "$1$2")
	}
	return strings.TrimSpace(guess.ReplaceAllString(strings.Join(lines, "\n"), ": "))
}

// traceback finds the line on which a traceback begins, -1 if there is none.
// Ray puts a line about the worker in front of it, or nothing but that.
func traceback(lines []string) int {
	for i, l := range lines {
		t := strings.TrimSpace(l)
		if strings.HasPrefix(t, "Traceback (most recent call last)") || strings.HasPrefix(t, "ray::") ||
			strings.HasPrefix(t, `File "`) || strings.Contains(t, "): ray::") {
			return i
		}
	}
	return -1
}

// lastException is the last line that names one, with the lines that belong
// to its words.
func lastException(lines []string) string {
	for i := len(lines) - 1; i >= 0; i-- {
		l := lines[i]
		if strings.HasPrefix(l, " ") || strings.HasPrefix(l, "\t") || !exception.MatchString(l) || strings.HasPrefix(l, "Traceback ") {
			continue
		}
		words := []string{l}
		for _, next := range lines[i+1:] {
			if !strings.HasPrefix(strings.TrimSpace(next), `File "`) && !strings.Contains(next, "^^^") {
				words = append(words, strings.TrimSpace(next))
			}
		}
		return strings.Join(words, " ")
	}
	return ""
}

// decodeDashboard reads the errors of Ray's dashboard: text, mostly, with a
// traceback in it when Ray was surprised.
func decodeDashboard(status int, _ string, body []byte) *mlops.Error {
	text := strings.TrimSpace(string(body))
	if text == "" || strings.HasPrefix(text, "<") {
		return nil
	}
	var said struct {
		Error   string `json:"error"`
		Message string `json:"message"`
		Msg     string `json:"msg"`
	}
	if json.Unmarshal(body, &said) == nil {
		for _, s := range []string{said.Error, said.Message, said.Msg} {
			if s != "" {
				text = s
				break
			}
		}
	}
	e := &mlops.Error{Message: limit(readable(text))}
	switch {
	case status == 401:
		e.Message += "; set Ray's token (RAY_AUTH_TOKEN)"
	case status >= 500 && strings.Contains(text, "JSONDecodeError"):
		e.Kind = mlops.ErrInvalid
	case status >= 500 && (strings.Contains(text, "ActorDiedError") || strings.Contains(text, "ActorUnavailableError")):
		e.Kind, e.Code = mlops.ErrUnavailable, "ActorDiedError" // Serve is shutting down or coming back
	case status == 400 && strings.Contains(text, "ValidationError"):
		e.Kind, e.Code = mlops.ErrInvalid, "ValidationError"
	}
	return e
}

// decodeModel reads the errors of deployed models: MLflow's JSON, or Serve's
// own words.
func decodeModel(status int, _ string, body []byte) *mlops.Error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] == '<' {
		return nil
	}
	var said struct {
		Code    string          `json:"error_code"`
		Message string          `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	e := &mlops.Error{Message: limit(readable(string(body)))}
	if json.Unmarshal(body, &said) == nil {
		e.Code = said.Code
		detail := string(said.Detail)
		var words string
		if json.Unmarshal(said.Detail, &words) == nil {
			detail = words
		}
		switch {
		case said.Message != "":
			e.Message = limit(readable(said.Message))
		case detail != "" && detail != "null":
			e.Message = limit(readable(detail))
		}
	}
	switch {
	case status == 408:
		e.Kind = mlops.ErrUnavailable
	case status == 500 && e.Code == "":
		e.Kind, e.Message = mlops.ErrUnavailable, "the model failed on this request: "+e.Message+"; its replica's log knows more"
	}
	return e
}

// limit keeps a message short enough for one error.
func limit(s string) string {
	const most = 1000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
