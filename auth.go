package mlops

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
)

// Redacted is how a [Secret] shows itself.
const Redacted = "[redacted]"

// Secret is a text that must not be seen. It prints, logs and marshals as
// "[redacted]" under every fmt verb; string(s) is the value.
// An empty Secret prints as the empty text, so that "unset" stays visible.
type Secret string

func (s Secret) masked() string {
	if s == "" {
		return ""
	}
	return Redacted
}

// String returns "[redacted]", or the empty text for an empty Secret.
func (s Secret) String() string { return s.masked() }

// Format writes "[redacted]" whatever the verb.
func (s Secret) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, s.masked()) }

// LogValue hides the secret from log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.masked()) }

// MarshalText hides the secret from encoding/json and its relatives.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.masked()), nil }

// Auth tells a server who is calling. The zero value is anonymous.
type Auth struct {
	// Username and Password are sent as HTTP Basic, or used to log in where
	// the server wants a token (Airflow 3).
	Username string
	Password Secret

	// Token is sent as "Authorization: Bearer", and wins over Username and
	// Password; with Header set it is sent bare under that name.
	Token  Secret
	Header string // for example "evidently-secret"; empty means Authorization
}

// IsZero reports whether there are no credentials.
func (a Auth) IsZero() bool { return a == Auth{} }

// Apply sets the credentials on h.
func (a Auth) Apply(h http.Header) {
	switch {
	case a.Token != "" && a.Header != "":
		h.Set(a.Header, string(a.Token))
	case a.Token != "":
		h.Set("Authorization", "Bearer "+string(a.Token))
	case a.Username != "" || a.Password != "":
		r := http.Request{Header: h}
		r.SetBasicAuth(a.Username, string(a.Password))
	}
}
