// Package address knows URLs, and what of them may be shown.
package address

import (
	"net/url"
	"regexp"

	"github.com/mlops-integration/mlops"
)

var schemes = regexp.MustCompile(`^\w+://`)

// Scheme returns what a URL begins with, as "s3://"; a path has none.
func Scheme(s string) string { return schemes.FindString(s) }

// Redact takes the password out of a URL.
func Redact(s string) string {
	return edited(s, func(u *url.URL) {
		if _, has := u.User.Password(); has {
			u.User = url.User(u.User.Username())
		}
	})
}

// Public is a git URL that may be printed. The user's name goes as well,
// which is a token where a password is not asked for.
func Public(s string) string {
	return Redact(edited(s, func(u *url.URL) {
		if u.User != nil && u.Scheme != "ssh" {
			u.User = nil
		}
	}))
}

// Anonymous takes user, password and signed queries out of a URL.
func Anonymous(s string) string {
	return edited(s, func(u *url.URL) { u.User, u.RawQuery, u.Fragment = nil, "", "" })
}

// edited returns a URL changed; a path stays, and what cannot be read is not
// shown.
func edited(s string, edit func(*url.URL)) string {
	at := Scheme(s)
	if at == "" {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return at + mlops.Redacted
	}
	edit(u)
	return u.String()
}
