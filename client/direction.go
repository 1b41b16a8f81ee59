package client

import (
	"slices"
	"strings"
)

// Direction says which values of a metric are better.
type Direction string

const (
	DirectionUnsaid Direction = ""       // as its name says, if that is well known
	DirectionHigher Direction = "higher" // more is better
	DirectionLower  Direction = "lower"  // less is better
)

// wellKnown are the directions of metrics by name.
var wellKnown = map[Direction][]string{
	DirectionHigher: {"accuracy", "accuracy_score", "acc", "balanced_accuracy", "precision", "precision_score", "recall", "recall_score", "f1", "f1_score",
		"auc", "roc_auc", "pr_auc", "average_precision", "r2", "r2_score", "ndcg", "mrr", "bleu", "iou", "dice", "mcc", "psnr", "ssim"},
	DirectionLower: {"loss", "log_loss", "logloss", "cross_entropy", "error", "mse", "rmse", "mae", "mape", "smape", "mase", "msle", "rmsle",
		"mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "wer", "cer", "perplexity", "nll", "brier_score", "ece", "fid"},
}

// partsOfData may stand before the name of a metric.
var partsOfData = []string{"train_", "training_", "val_", "valid_", "validation_", "test_", "eval_", "dev_"}

// of resolves the direction of a metric: that which was said or, without one,
// that of its well-known name. The name is what follows the last slash and the
// part of the data, as in "eval/val_loss". The error matches [mlops.ErrInvalid].
func (d Direction) of(metric string) (Direction, error) {
	switch d {
	case DirectionHigher, DirectionLower:
		return d, nil
	case DirectionUnsaid:
	default:
		return "", invalid("direction %.100q: want %s or %s", d, DirectionHigher, DirectionLower)
	}
	name := strings.ToLower(metric[strings.LastIndex(metric, "/")+1:])
	for _, part := range partsOfData {
		if rest, ok := strings.CutPrefix(name, part); ok {
			name = rest
			break
		}
	}
	for d, names := range wellKnown {
		if slices.Contains(names, name) {
			return d, nil
		}
	}
	return "", invalid("metric %.100q: its name does not say whether more or less of it is better: say which (--max or --min, Direction)", metric)
}

// flag is the direction as mlopsctl takes it.
func (d Direction) flag() string {
	if d == DirectionLower {
		return "--min"
	}
	return "--max"
}
