package remote

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// Bad is an error about an option of the remote. It does not hold the value,
// which may be a secret. It matches [mlops.ErrInvalid].
func (c Config) Bad(key, want string) error {
	return fmt.Errorf("dvc: remote %q: option %s must be %s: %w", c.Name, key, want, mlops.ErrInvalid)
}

// Bool reads an option as DVC does: true or false, in any case.
func (c Config) Bool(key string, def bool) (bool, error) {
	switch v := strings.ToLower(strings.TrimSpace(c.Options[key])); v {
	case "":
		return def, nil
	case "true", "false":
		return v == "true", nil
	}
	return def, c.Bad(key, "true or false")
}

// Int reads an option that is a positive number.
func (c Config) Int(key string, def int) (int, error) {
	v := strings.TrimSpace(c.Options[key])
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return def, c.Bad(key, "a positive number")
	}
	return n, nil
}

// Seconds reads an option that is a positive number of seconds.
func (c Config) Seconds(key string, def time.Duration) (time.Duration, error) {
	v := strings.TrimSpace(c.Options[key])
	if v == "" {
		return def, nil
	}
	s, err := strconv.ParseFloat(v, 64)
	if err != nil || s <= 0 || s > 1e6 {
		return def, c.Bad(key, "a positive number of seconds")
	}
	return time.Duration(s * float64(time.Second)), nil
}

// Secret reads an option that must not be seen.
func (c Config) Secret(key string) mlops.Secret { return mlops.Secret(c.Options[key]) }
