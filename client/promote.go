package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/mlops-integration/mlops"
)

// PromoteOptions say what has to hold before an alias is moved.
type PromoteOptions struct {
	// IfAt is the version that the alias has to point at, or NoVersion for none;
	// empty: any.
	IfAt   string
	Newer  bool // than the one that it points at
	DryRun bool // only look
}

// NoVersion stands for that of an alias that does not exist.
const NoVersion = "none"

// Promote points an alias at a version. One that it points at already is no
// error, whatever the options. The error matches [mlops.ErrConflict] if the alias
// is not where the options want it, and [mlops.ErrNotFound] if there is no such
// version. MLflow cannot look and move at once: who moves the alias in between loses.
func (c *Client) Promote(ctx context.Context, model, alias, version string, o PromoteOptions) error {
	v, err := c.MLflow.Models.Version(ctx, model, version)
	if err != nil {
		return err
	}
	at, err := c.aliasAt(ctx, model, alias)
	if err != nil || at == v.Version {
		return err
	}
	conflict := func(format string, args ...any) error {
		return &mlops.Error{Kind: mlops.ErrConflict, Message: fmt.Sprintf("alias %.100s of %.100s is at %s", alias, model, at) + fmt.Sprintf(format, args...)}
	}
	if o.IfAt != "" && o.IfAt != at {
		return conflict(", no longer at %.100s: compare again", o.IfAt)
	}
	if o.Newer && at != NoVersion && older(v.Version, at) {
		return conflict(", and %s is older", v.Version)
	}
	if o.DryRun {
		return nil
	}
	return c.MLflow.Models.SetAlias(ctx, model, alias, v.Version)
}

// aliasAt is the version that an alias points at, or NoVersion.
func (c *Client) aliasAt(ctx context.Context, model, alias string) (string, error) {
	v, err := c.MLflow.Models.VersionByAlias(ctx, model, alias)
	if errors.Is(err, mlops.ErrNotFound) {
		return NoVersion, nil
	}
	return v.Version, err
}

// older compares numbers of versions.
func older(a, b string) bool {
	x, xerr := strconv.Atoi(a)
	y, yerr := strconv.Atoi(b)
	return xerr == nil && yerr == nil && x < y
}
