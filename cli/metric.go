package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/mlflow"
)

func metricCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "metric",
		Usage: "Log metrics",
		Subcommands: []*cli.Command{{
			Name:      "log",
			Usage:     "Log metrics to a run",
			ArgsUsage: "[key=value...]",
			Description: `   mlopsctl metric log --run "$run" --step 10 loss=0.31 val_loss=0.42
   mlopsctl metric log --run "$run" --file metrics.ndjson

   A line of the file is a JSON object: {"step": 10, "loss": 0.31}. Values may
   be NaN, Infinity and -Infinity.`,
			Flags: []cli.Flag{
				e.projectFlag(), e.dirFlag(), runFlag(), requireSentFlag(),
				&cli.Int64Flag{Name: "step", Usage: "`step` of the values"},
				&cli.StringFlag{Name: "file", Usage: "NDJSON `file`, - for standard input"},
			},
			Action: func(c *cli.Context) error {
				points, err := e.points(c)
				if err != nil {
					return err
				}
				return e.onRun(c, func(ctx context.Context, run *mlflow.Run) error { return run.LogPoints(ctx, points...) })
			},
		}},
	}
}

// points reads the metrics of the command line and of --file.
func (e *env) points(c *cli.Context) ([]mlflow.Metric, error) {
	now := time.Now()
	list, err := pairs(c.Args().Slice(), "metric")
	if err != nil {
		return nil, err
	}
	var out []mlflow.Metric
	for _, kv := range list {
		v, err := strconv.ParseFloat(kv[1], 64)
		if err != nil {
			return nil, usagef("metric %s: %q is not a number", kv[0], kv[1])
		}
		out = append(out, mlflow.Metric{Key: kv[0], Value: v, Step: c.Int64("step"), Time: now})
	}
	if c.String("file") != "" {
		more, err := e.pointsOf(c.String("file"), now)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	if len(out) == 0 {
		return nil, usagef("missing <key=value> or --file")
	}
	return out, nil
}

func (e *env) pointsOf(file string, now time.Time) ([]mlflow.Metric, error) {
	in, err := e.open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var out []mlflow.Metric
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(quoteSpecials(lines.Bytes()), &object); err != nil {
			return nil, fmt.Errorf("%s:%d: not a JSON object: %w", file, n, err)
		}
		var step int64
		if raw, ok := object["step"]; ok {
			if err := json.Unmarshal(raw, &step); err != nil {
				return nil, fmt.Errorf("%s:%d: step: %w", file, n, err)
			}
			delete(object, "step")
		}
		for _, k := range sortedKeys(object) {
			var v number
			if err := json.Unmarshal(object[k], &v); err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", file, n, k, err)
			}
			out = append(out, mlflow.Metric{Key: k, Value: float64(v), Step: step, Time: now})
		}
	}
	return out, lines.Err()
}

func paramCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "param",
		Usage: "Log parameters",
		Subcommands: []*cli.Command{{
			Name:      "log",
			Usage:     "Log parameters to a run",
			ArgsUsage: "[key=value...]",
			Description: `   mlopsctl param log --run "$run" lr=0.1 optimizer=adam
   mlopsctl param log --run "$run" --file params.json`,
			Flags: []cli.Flag{
				e.projectFlag(), e.dirFlag(), runFlag(), requireSentFlag(),
				&cli.StringFlag{Name: "file", Usage: "JSON `file` with one object, - for standard input"},
			},
			Action: func(c *cli.Context) error {
				params, err := e.params(c)
				if err != nil {
					return err
				}
				return e.onRun(c, func(ctx context.Context, run *mlflow.Run) error { return run.LogParams(ctx, params) })
			},
		}},
	}
}

func (e *env) params(c *cli.Context) (map[string]any, error) {
	given, err := pairMap(c.Args().Slice(), "param")
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if file := c.String("file"); file != "" {
		in, err := e.open(file)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		d := json.NewDecoder(in)
		d.UseNumber() // 1.0 stays 1.0, as Python wrote it
		if err := d.Decode(&out); err != nil {
			return nil, fmt.Errorf("%s: not a JSON object: %w", file, err)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%s: want one JSON object, and there is more", file)
		}
		for k, v := range out {
			if n, ok := v.(json.Number); ok {
				out[k] = n.String()
			}
		}
	}
	for k, v := range given {
		out[k] = v
	}
	if len(out) == 0 {
		return nil, usagef("missing <key=value> or --file")
	}
	return out, nil
}

// open reads a file, or standard input for "-".
func (e *env) open(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(e.stdin), nil
	}
	return os.Open(file)
}
