package client

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/mlops-integration/mlops"
)

// Challenge is how a version of a model does beside the champion.
type Challenge struct {
	Version  string
	Champion string // the version that it is compared with; empty: there is none
	Metric   string
	Better   bool // by at least the margin, or there is no champion
	Lower    bool // less is better
	Value    float64
	Best     float64 // of the champion
}

// ChallengeOptions say what a version has to be better in.
type ChallengeOptions struct {
	Alias     string  // that points at the champion; empty: "champion"
	Margin    float64 // how much better; 0: at all
	Direction Direction
}

// Challenge compares a metric of the run that made a version with that of the
// run that made the champion. The error matches [mlops.ErrNotFound] if there is no
// such version, or if its run lacks the metric, and [mlops.ErrInvalid] if it is not
// said which values of the metric are better and its name is not well known.
func (c *Client) Challenge(ctx context.Context, model, version, metric string, o ChallengeOptions) (Challenge, error) {
	if o.Alias == "" {
		o.Alias = "champion"
	}
	direction, err := o.Direction.of(metric)
	if err != nil {
		return Challenge{}, err
	}
	out := Challenge{Version: version, Metric: metric, Lower: direction == DirectionLower}
	v, err := c.MLflow.Models.Version(ctx, model, version)
	if err == nil {
		out.Value, err = c.metricOf(ctx, v.RunID, metric)
	}
	if err != nil {
		return Challenge{}, err
	}
	champion, err := c.MLflow.Models.VersionByAlias(ctx, model, o.Alias)
	if errors.Is(err, mlops.ErrNotFound) {
		out.Better = !math.IsNaN(out.Value)
		return out, nil
	}
	if err == nil {
		out.Best, err = c.metricOf(ctx, champion.RunID, metric)
	}
	if err != nil {
		return Challenge{}, err
	}
	out.Champion = champion.Version
	out.Better = champion.Version != version && beats(out.Value, out.Best, o.Margin, out.Lower)
	return out, nil
}

// beats reports whether a value is better than the best by at least the margin.
// The rounding of decimal numbers does not decide: 0.9 beats 0.8 by 0.1. Any number
// beats NaN, which beats none.
func beats(value, best, margin float64, lower bool) bool {
	if math.IsNaN(value) || math.IsNaN(best) {
		return !math.IsNaN(value)
	}
	gain := value - best
	if lower {
		gain = -gain
	}
	rounding := 1e-12 * max(math.Abs(value), math.Abs(best))
	return gain > 0 && gain >= margin-rounding
}

func (c *Client) metricOf(ctx context.Context, run, metric string) (float64, error) {
	info, err := c.MLflow.RunInfo(ctx, run)
	if err != nil {
		return 0, err
	}
	m, ok := info.Metric(metric)
	if !ok {
		return 0, &mlops.Error{Kind: mlops.ErrNotFound, Message: fmt.Sprintf("run %s has no metric %.100q", run, metric)}
	}
	return m.Value, nil
}
