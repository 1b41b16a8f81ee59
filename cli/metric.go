package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
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
   be NaN, Infinity and -Infinity; null is no value. "timestamp", seconds or
   milliseconds since 1970 or a text such as 2026-11-27T12:00:00Z, is the time
   of the line's points; so is "time", if it is a text. pandas writes such a
   file with df.to_json("metrics.ndjson", orient="records", lines=True).`,
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
		step, at, err := place(object, now)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		for _, k := range sortedKeys(object) {
			if string(object[k]) == "null" {
				continue
			}
			var v number
			if err := json.Unmarshal(object[k], &v); err != nil {
				return nil, fmt.Errorf("%s:%d: %s: %w", file, n, k, err)
			}
			out = append(out, mlflow.Metric{Key: k, Value: float64(v), Step: step, Time: at})
		}
	}
	return out, lines.Err()
}

// place takes the step and the time of its points out of a line.
func place(object map[string]json.RawMessage, now time.Time) (step int64, at time.Time, err error) {
	at = now
	if raw, ok := object["step"]; ok {
		var f float64
		if err := json.Unmarshal(raw, &f); err != nil || string(raw) == "null" || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, at, fmt.Errorf("step: %s is not a whole number", raw)
		}
		step = int64(f) // pandas writes 1.0 for a column that had gaps
		delete(object, "step")
	}
	for _, key := range []string{"timestamp", "time"} {
		raw, ok := object[key]
		if !ok || key == "time" && raw[0] != '"' { // a metric
			continue
		}
		if at, err = timeOf(raw); err != nil {
			return 0, at, fmt.Errorf("%s: %w", key, err)
		}
		delete(object, key)
	}
	return step, at, nil
}

// timeOf reads a time as programs write it: RFC 3339, with a blank too and
// then perhaps without a zone, which means UTC as in pandas, or a number.
func timeOf(raw json.RawMessage) (time.Time, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && raw[0] == '"' {
		for _, form := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
			if t, err := time.Parse(form, text); err == nil {
				return t, nil
			}
		}
		return time.Time{}, fmt.Errorf("%q is not a time such as 2026-11-27T12:00:00Z", text)
	}
	var f float64
	if err := json.Unmarshal(raw, &f); err != nil || string(raw) == "null" || f < 0 || f > 1e14 {
		return time.Time{}, fmt.Errorf("%s is not a time", raw)
	}
	if f < 1e11 { // seconds, until the year 5138
		f *= 1000
	}
	return time.UnixMilli(int64(f)), nil
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
