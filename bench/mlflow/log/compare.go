//go:build unix

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/stackfile"
	"github.com/mlops-integration/mlops/mlflow"
)

// contender is one way to log.
type contender struct {
	name   string
	mode   string
	points int // per round: so many that a round takes a few seconds
	python bool
	env    []string
}

var contenders = []contender{
	{name: "Go", mode: "go", points: 5000},
	{name: "bare log-batch", mode: "bare", points: 5000},
	{name: "Python sync", mode: "sync", points: 60, python: true},
	{name: "Python async", mode: "async", points: 60, python: true, env: []string{"MLFLOW_ENABLE_ASYNC_LOGGING=true"}},
	{name: "Python buffered", mode: "buffered", points: 3000, python: true, env: []string{"MLFLOW_ENABLE_ASYNC_LOGGING=true", "MLFLOW_ASYNC_LOGGING_BUFFERING_SECONDS=1"}},
}

// compare lets the contenders, or those of some modes, take turns and prints how they did.
func compare(ctx context.Context, script string, rounds int, modes []string) error {
	var chosen []contender
	for _, x := range contenders {
		if len(modes) == 0 || slices.Contains(modes, x.mode) {
			chosen = append(chosen, x)
		}
	}
	python, env, err := server()
	if err != nil {
		return err
	}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	c, err := mlflow.New(mlflow.Options{URL: os.Getenv("MLFLOW_TRACKING_URI"), Auth: auth(), Journal: mlflow.Journal{Off: true}})
	if err != nil {
		return err
	}
	e, err := c.EnsureExperiment(ctx, fmt.Sprintf("bench-log-%d", time.Now().UnixNano()), mlflow.ExperimentOptions{})
	if err != nil {
		return err
	}
	defer c.DeleteExperiment(ctx, e.ID)
	journal, err := os.MkdirTemp("", "mlops-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(journal)

	results := map[string][]result{}
	for round := range rounds {
		order := slices.Clone(chosen)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, x := range order {
			r, err := x.round(ctx, python, script, e.ID, journal)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			if err := delivered(ctx, c, r); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			results[x.mode] = append(results[x.mode], r)
			fmt.Fprintf(os.Stderr, "round %d  %-15s %7.0f points/s, load %s\n", round+1, x.name, r.Rate, load())
		}
	}
	report(results)
	return nil
}

// server finds the server and a Python that has mlflow: those given by the
// environment, else the running stack's.
func server() (python string, env []string, err error) {
	python = os.Getenv("MLOPS_PYTHON")
	if os.Getenv("MLFLOW_TRACKING_URI") != "" {
		if python == "" {
			return "", nil, errors.New("MLOPS_PYTHON is not set: name an interpreter that has mlflow")
		}
		return python, nil, nil
	}
	home, err := mlops.Home()
	if err != nil {
		return "", nil, err
	}
	s, err := stackfile.Read(home)
	if err != nil {
		return "", nil, fmt.Errorf("%w; run mlopsctl start, or set MLFLOW_TRACKING_URI", err)
	}
	at := s.Endpoints[stackfile.MLflow]
	secret, err := at.Secret()
	if err != nil {
		return "", nil, err
	}
	return cmp.Or(python, s.Pythons["mlflow"]), []string{"MLFLOW_TRACKING_URI=" + at.URL,
		"MLFLOW_TRACKING_USERNAME=" + at.Username, "MLFLOW_TRACKING_PASSWORD=" + string(secret)}, nil
}

// round runs one contender once.
func (x contender) round(ctx context.Context, python, script, experiment, journal string) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, self, x.mode, strconv.Itoa(x.points), experiment)
	if x.python {
		cmd = exec.CommandContext(ctx, python, script, x.mode, strconv.Itoa(x.points), experiment)
	}
	var talk strings.Builder
	cmd.Stderr = &talk
	cmd.Env = append(os.Environ(), "BENCH_JOURNAL="+journal, "GIT_PYTHON_REFRESH=quiet")
	cmd.Env = append(append(cmd.Env, x.env...), fmt.Sprintf("BENCH_BEGIN=%d", time.Now().UnixNano()))
	out, err := cmd.Output()
	if err != nil {
		return result{}, fmt.Errorf("%w: %s", err, talk.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n") // Python's client may talk before
	for _, line := range lines {
		var r result
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &r) == nil {
			return r, nil
		}
	}
	return result{}, fmt.Errorf("no result in %q", out)
}

// delivered counts on the server what a contender says it logged.
func delivered(ctx context.Context, c *mlflow.Client, r result) error {
	n := 0
	for _, key := range keys {
		for _, err := range c.MetricHistory(ctx, r.Run, key) {
			if err != nil {
				return err
			}
			n++
		}
	}
	if n != r.Logged {
		return fmt.Errorf("the server has %d points of run %s, %d were logged", n, r.Run, r.Logged)
	}
	return nil
}

func report(results map[string][]result) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "median (least–most)\tpoints/s\tcall p50 µs\tp99 µs\tmax µs\tCPU µs/point\tRSS MiB\tstart ms")
	for _, x := range contenders {
		if results[x.mode] == nil {
			continue
		}
		fmt.Fprintf(w, "%s", x.name)
		for _, of := range []func(result) float64{
			func(r result) float64 { return r.Rate }, func(r result) float64 { return r.P50 }, func(r result) float64 { return r.P99 },
			func(r result) float64 { return r.Max }, func(r result) float64 { return r.CPU }, func(r result) float64 { return r.RSS }, func(r result) float64 { return r.Start },
		} {
			fmt.Fprintf(w, "\t%s", spread(results[x.mode], of))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	ours := results["go"]
	if ours == nil {
		return
	}
	fmt.Printf("\nGo, calls in a row: p50 %s, p99 %s µs; from four goroutines: p50 %s, p99 %s µs\n",
		spread(ours, func(r result) float64 { return r.Burst50 }), spread(ours, func(r result) float64 { return r.Burst99 }),
		spread(ours, func(r result) float64 { return r.Four50 }), spread(ours, func(r result) float64 { return r.Four99 }))

	fmt.Println()
	w = tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "Go against\tgoal\tmedian of the rounds' ratios (least–most)")
	rate := func(r result) float64 { return r.Rate }
	used := func(r result) float64 { return r.CPU }
	ratio(w, "points/s: Python sync", "≥ 5", ours, results["sync"], rate)
	ratio(w, "points/s: Python async", "≥ 5", ours, results["async"], rate)
	ratio(w, "points/s: Python buffered", "≥ 0.95", ours, results["buffered"], rate)
	ratio(w, "points/s: bare log-batch", "≥ 0.9", ours, results["bare"], rate)
	ratio(w, "CPU per point: Python buffered", "≤ 0.2", ours, results["buffered"], used)
	ratio(w, "CPU per point: Python async", "≤ 0.2", ours, results["async"], used)
	ratio(w, "CPU per point: Python sync", "≤ 0.2", ours, results["sync"], used)
	fmt.Fprintf(w, "call p50, while sending\t≤ 5 µs\t%s\n", spread(ours, func(r result) float64 { return r.P50 }))
	fmt.Fprintf(w, "call p99, while sending\t≤ 100 µs\t%s\n", spread(ours, func(r result) float64 { return r.P99 }))
	w.Flush()
}

func ratio(w *tabwriter.Writer, what, goal string, ours, theirs []result, of func(result) float64) {
	if theirs == nil {
		return
	}
	var all []float64
	for i := range ours {
		all = append(all, of(ours[i])/of(theirs[i]))
	}
	fmt.Fprintf(w, "%s\t%s\t%s\n", what, goal, numbers(all))
}

func spread(rs []result, of func(result) float64) string {
	var all []float64
	for _, r := range rs {
		all = append(all, of(r))
	}
	return numbers(all)
}

// numbers are the median, the least and the most.
func numbers(all []float64) string {
	slices.Sort(all)
	return fmt.Sprintf("%s (%s–%s)", short(all[len(all)/2]), short(all[0]), short(all[len(all)-1]))
}

func short(f float64) string {
	if f >= 100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// load is the machine's, over the last minute, where the system tells.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}
