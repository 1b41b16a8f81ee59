package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/mlops-integration/mlops"
)

// Challenge is how a version of a model does beside the champion.
type Challenge struct {
	Version  string
	Champion string // the version that it is compared with; empty: there is none
	Metric   string
	Lower    bool // less is better
	Value    float64
	Best     float64 // of the champion
	Better   bool    // by at least the margin, or there is no champion
}

// ChallengeOptions say what a version has to be better in.
type ChallengeOptions struct {
	Alias  string  // that points at the champion; empty: "champion"
	Margin float64 // how much better; 0: at all
	Lower  bool    // less of the metric is better; else its name decides: see [LowerIsBetter]
}

// Challenge compares a metric of the run that made a version with that of the
// run that made the champion. The error matches [mlops.ErrNotFound] if there is no
// such version, or if its run lacks the metric.
func (c *Client) Challenge(ctx context.Context, model, version, metric string, o ChallengeOptions) (Challenge, error) {
	if o.Alias == "" {
		o.Alias = "champion"
	}
	out := Challenge{Version: version, Metric: metric, Lower: o.Lower || LowerIsBetter(metric)}
	v, err := c.MLflow.Models.Version(ctx, model, version)
	if err == nil {
		out.Value, err = c.metricOf(ctx, v.RunID, metric)
	}
	if err != nil {
		return Challenge{}, err
	}
	champion, err := c.MLflow.Models.VersionByAlias(ctx, model, o.Alias)
	if errors.Is(err, mlops.ErrNotFound) {
		out.Better = true
		return out, nil
	}
	if err == nil {
		out.Best, err = c.metricOf(ctx, champion.RunID, metric)
	}
	if err != nil {
		return Challenge{}, err
	}
	out.Champion = champion.Version
	gain := out.Value - out.Best
	if out.Lower {
		gain = -gain
	}
	out.Better = champion.Version != version && gain > 0 && gain >= o.Margin
	return out, nil
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
