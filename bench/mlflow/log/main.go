//go:build unix

// Command log compares logging metrics from Go with Python's client; log.sh
// runs it. As "go" and "bare" it is a contender itself, a process per round.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

// result is what a contender tells of one round.
type result struct {
	Run    string  `json:"run"`
	Logged int     `json:"logged"` // points in all
	Rate   float64 `json:"rate"`   // points/s, from the first call until all is on the server
	P50    float64 `json:"p50"`    // of the call, µs
	P99    float64 `json:"p99"`
	Max    float64 `json:"max"`
	CPU    float64 `json:"cpu"`   // µs per point, of the timed part
	RSS    float64 `json:"rss"`   // MiB, the most
	Start  float64 `json:"start"` // ms from the start of the process until the first call returned

	// Calls made in a row, by one goroutine as in Rate, and by four.
	Burst50 float64 `json:"burst50,omitempty"`
	Burst99 float64 `json:"burst99,omitempty"`
	Four50  float64 `json:"four50,omitempty"`
	Four99  float64 `json:"four99,omitempty"`
}

var keys = [5]string{"loss", "accuracy", "grad_norm", "lr", "tokens_per_s"}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "log:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("want compare <log.py> <rounds> [mode…], or go|bare <points> <experiment>")
	}
	if args[0] == "compare" {
		rounds, err := strconv.Atoi(args[2])
		if err != nil || rounds < 1 {
			return fmt.Errorf("rounds: %q is not a number", args[2])
		}
		return compare(ctx, args[1], rounds, args[3:])
	}
	points, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var r result
	switch args[0] {
	case "go":
		r, err = logGo(ctx, points, args[2])
	case "bare":
		r, err = logBare(ctx, points, args[2])
	default:
		err = fmt.Errorf("no contender %q", args[0])
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// logGo logs with this module, the journal on disk. First points in a row and
// Flush, for the rate and the CPU; then steps of five points, one step each
// 2 ms for 3 s, while the sender sends them, for the call.
func logGo(ctx context.Context, points int, experiment string) (result, error) {
	c, err := mlflow.New(mlflow.Options{URL: os.Getenv("MLFLOW_TRACKING_URI"), Auth: auth(),
		Journal: mlflow.Journal{Dir: os.Getenv("BENCH_JOURNAL")}})
	if err != nil {
		return result{}, err
	}
	defer c.Close()
	run, err := c.StartRun(ctx, mlflow.Experiment{ID: experiment}, mlflow.RunOptions{Name: "bench go", EndTimeout: time.Minute})
	if err != nil {
		return result{}, err
	}
	if err := run.LogMetric(ctx, 0, keys[0], 0.5); err != nil {
		return result{}, err
	}
	r := result{Start: sinceStart(), Logged: 1}
	if err := run.Flush(ctx); err != nil {
		return r, err
	}
	if r.Run, err = run.ID(ctx); err != nil {
		return r, err
	}

	next := 5
	call := func(took []time.Duration, n, from int) ([]time.Duration, error) {
		for i := from; i < from+n; i++ {
			at := time.Now()
			err := run.LogMetric(ctx, int64(i/5), keys[i%5], 1/float64(i))
			took = append(took, time.Since(at))
			if err != nil {
				return took, err
			}
		}
		return took, nil
	}
	burst := make([]time.Duration, 0, points)
	used, begin := cpu(), time.Now()
	if burst, err = call(burst, points, next); err != nil {
		return r, err
	}
	if err := run.Flush(ctx); err != nil {
		return r, err
	}
	r.Rate, r.CPU = float64(points)/time.Since(begin).Seconds(), (cpu()-used).Seconds()/float64(points)*1e6
	next += points
	r.Burst50, r.Burst99, _ = quantiles(burst)

	var paced []time.Duration
	tick := time.NewTicker(2 * time.Millisecond)
	for range 1500 {
		<-tick.C
		if paced, err = call(paced, 5, next); err != nil {
			return r, err
		}
		next += 5
	}
	tick.Stop()
	r.P50, r.P99, r.Max = quantiles(paced)

	var wg sync.WaitGroup
	var four [4][]time.Duration
	var errs [4]error
	for g := range four {
		from := next + g*250
		wg.Go(func() { four[g], errs[g] = call(make([]time.Duration, 0, 250), 250, from) })
	}
	wg.Wait()
	next += 1000
	for _, err := range errs {
		if err != nil {
			return r, err
		}
	}
	r.Four50, r.Four99, _ = quantiles(slices.Concat(four[:]...))
	r.Logged += next - 5
	r.RSS = rss()
	return r, run.End(ctx, nil)
}

// logBare sends the same points with nothing but net/http: one request after
// the other on one connection, 1000 points in each.
func logBare(ctx context.Context, points int, experiment string) (result, error) {
	var made struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	if err := post(ctx, "runs/create", map[string]any{"experiment_id": experiment, "run_name": "bench bare", "start_time": time.Now().UnixMilli()}, &made); err != nil {
		return result{}, err
	}
	r := result{Run: made.Run.Info.ID}
	type metric struct {
		Key   string  `json:"key"`
		Value float64 `json:"value"`
		Time  int64   `json:"timestamp"`
		Step  int64   `json:"step"`
	}
	var took []time.Duration
	used, begin := cpu(), time.Now()
	for i := 5; i < points+5; {
		var list []metric
		for ; len(list) < 1000 && i < points+5; i++ {
			list = append(list, metric{keys[i%5], 1 / float64(i), time.Now().UnixMilli(), int64(i / 5)})
		}
		at := time.Now()
		if err := post(ctx, "runs/log-batch", map[string]any{"run_id": r.Run, "metrics": list}, nil); err != nil {
			return r, err
		}
		took = append(took, time.Since(at))
		if r.Start == 0 {
			r.Start = sinceStart()
		}
	}
	r.Rate, r.CPU = float64(points)/time.Since(begin).Seconds(), (cpu()-used).Seconds()/float64(points)*1e6
	r.P50, r.P99, r.Max = quantiles(took)
	r.Logged, r.RSS = points, rss()
	return r, post(ctx, "runs/update", map[string]any{"run_id": r.Run, "status": "FINISHED", "end_time": time.Now().UnixMilli()}, nil)
}

func post(ctx context.Context, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", os.Getenv("MLFLOW_TRACKING_URI")+"/api/2.0/mlflow/"+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if a := auth(); a.Username != "" {
		req.SetBasicAuth(a.Username, string(a.Password))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s: %s: %.200s", path, resp.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

func auth() mlops.Auth {
	return mlops.Auth{Username: os.Getenv("MLFLOW_TRACKING_USERNAME"), Password: mlops.Secret(os.Getenv("MLFLOW_TRACKING_PASSWORD"))}
}

// quantiles are the middle, the 99th percentile and the longest, in µs. took is sorted.
func quantiles(took []time.Duration) (p50, p99, longest float64) {
	slices.Sort(took)
	us := func(i int) float64 { return float64(took[i]) / 1e3 }
	return us(len(took) / 2), us(len(took) * 99 / 100), us(len(took) - 1)
}

// sinceStart is how long ago the process was started, in ms.
func sinceStart() float64 {
	ns, _ := strconv.ParseInt(os.Getenv("BENCH_BEGIN"), 10, 64)
	return float64(time.Now().UnixNano()-ns) / 1e6
}

func usage() syscall.Rusage {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u
}

func cpu() time.Duration {
	u := usage()
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss() float64 {
	n := float64(usage().Maxrss) / 1024
	if runtime.GOOS == "darwin" {
		n /= 1024 // there it is in bytes
	}
	return n
}
