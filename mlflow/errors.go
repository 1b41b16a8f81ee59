package mlflow

import (
	"encoding/json"
	"strings"

	"github.com/mlops-integration/mlops"
)

// kinds maps MLflow's own codes. Codes that are not here leave the decision to
// the status.
var kinds = map[string]error{
	"RESOURCE_DOES_NOT_EXIST": mlops.ErrNotFound,
	"RESOURCE_NOT_FOUND":      mlops.ErrNotFound,
	"NOT_FOUND":               mlops.ErrNotFound,
	"RESOURCE_ALREADY_EXISTS": mlops.ErrAlreadyExists,
	"ALREADY_EXISTS":          mlops.ErrAlreadyExists,
	"RESOURCE_CONFLICT":       mlops.ErrConflict,
	"INVALID_STATE":           mlops.ErrConflict,
	"ABORTED":                 mlops.ErrConflict,
	"UNAUTHENTICATED":         mlops.ErrUnauthenticated,
	"PERMISSION_DENIED":       mlops.ErrForbidden,
	"CUSTOMER_UNAUTHORIZED":   mlops.ErrForbidden,
	"INVALID_PARAMETER_VALUE": mlops.ErrInvalid,
	"BAD_REQUEST":             mlops.ErrInvalid,
	"MALFORMED_REQUEST":       mlops.ErrInvalid,
	"FEATURE_DISABLED":        mlops.ErrUnsupported,
	"NOT_IMPLEMENTED":         mlops.ErrUnsupported,
	"ENDPOINT_NOT_FOUND":      mlops.ErrUnsupported,
	"REQUEST_LIMIT_EXCEEDED":  mlops.ErrRateLimited,
	"TEMPORARILY_UNAVAILABLE": mlops.ErrUnavailable,
}

// decodeError reads the forms in which MLflow answers that it will not:
// {"error_code", "message"} of the REST API, {"detail"} of its newer routes,
// and plain sentences of its guards (credentials, permissions, host names).
func decodeError(status int, contentType string, body []byte) *mlops.Error {
	var env struct {
		Code    any             `json:"error_code"`
		Message any             `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &env) == nil {
		code, _ := env.Code.(string)
		msg, _ := env.Message.(string)
		if code == "INTERNAL_ERROR" && misses(msg) {
			return &mlops.Error{Kind: mlops.ErrNotFound, Code: code, Message: msg}
		}
		if code != "" {
			return &mlops.Error{Kind: kinds[code], Code: code, Message: msg}
		}
		if len(env.Detail) > 0 {
			var s string
			if json.Unmarshal(env.Detail, &s) != nil {
				s = string(env.Detail)
			}
			return &mlops.Error{Kind: switchedOff(status, s), Message: cut(s)}
		}
		return nil
	}
	text := strings.TrimSpace(string(body))
	page := strings.HasPrefix(text, "<")
	switch {
	case (status == 404 || status == 405) && page:
		return &mlops.Error{Kind: mlops.ErrUnsupported, Message: "the server does not know this call; is it MLflow, and recent enough?"}
	case page || text == "":
		return nil
	case status == 403 && strings.Contains(text, "Invalid Host header"):
		return &mlops.Error{Kind: mlops.ErrForbidden, Message: cut(text) + "; start the server with --allowed-hosts (or MLFLOW_SERVER_ALLOWED_HOSTS) naming this host and host:*"}
	case switchedOff(status, text) != nil:
		return &mlops.Error{Kind: mlops.ErrUnsupported, Message: cut(text)}
	case status == 401 || status == 403:
		return &mlops.Error{Message: cut(text)}
	}
	return nil
}

// misses reports whether MLflow's words for an error of its own are those of a
// missing artifact: 2.x has it from its disk, both lines have it from boto3
// when the artifacts lie in S3 behind the server.
func misses(msg string) bool {
	return strings.Contains(msg, "[Errno 2] No such file or directory") ||
		strings.Contains(msg, "An error occurred (404) when calling the HeadObject operation")
}

// switchedOff tells a part of the server that is not there, workspaces or the
// artifact proxy, from a server that is down: both are answered with 503.
func switchedOff(status int, text string) error {
	text = strings.ToLower(text)
	if status == 503 && (strings.Contains(text, "workspace") || strings.Contains(text, "artifact serving") || strings.Contains(text, "serve-artifacts")) {
		return mlops.ErrUnsupported
	}
	return nil
}

// cut keeps a message to one line of reasonable length.
func cut(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "\uFFFD")
	if r := []rune(s); len(r) > 300 {
		s = string(r[:300]) + "…"
	}
	return s
}
