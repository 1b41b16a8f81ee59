package mlflow_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/agent"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

// job is what a program under test does. Programs are this very test binary,
// started again.
type job struct {
	Do         string // "log", "sync", "versions", "project", "project-sync", "poisoned", "agent"
	URL        string
	Journals   string // the folder of journals; the home of a project is in it
	Experiment string // by ID; the folder of a project
	Run        string // to go on with; empty: start one
	KeepStatus bool
	From, To   int           // numbers of what is logged
	Pace       time.Duration // between two of them; 0: none
	Flush      bool          // before the end
	End        string        // "end", "hang", "close", "exit"
	EndTimeout time.Duration
	Stop       string // a file that ends the logging when it is there
	Points     bool   // times of their own, so that two programs log the same; of a project: log of all kinds
	Project    string // of what is poisoned
	Poison     int    // every so manieth record is a poison
}

const jobVariable = "MLOPS_SUITE_JOB"

func init() {
	text := os.Getenv(jobVariable)
	if text == "" {
		return
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// said is the pipe on which a program acknowledges: one write, one line.
var said = os.NewFile(3, "said")

func say(format string, args ...any) {
	_, _ = fmt.Fprintf(said, format+"\n", args...)
}

func (j job) run(ctx context.Context) error {
	switch j.Do {
	case "project":
		return j.project(ctx)
	case "poisoned":
		return j.poisoned(ctx)
	case "agent":
		say("begin")
		return agent.New(agent.Options{Every: 200 * time.Millisecond, Client: []client.Option{client.In(j.Experiment)}}).Run(ctx)
	case "project-sync":
		c, err := client.Open(ctx, client.In(j.Experiment))
		if err != nil {
			return err
		}
		return errors.Join(told(c.Sync(ctx, mlflow.SyncOptions{})), c.Close())
	}
	c, err := mlflow.New(mlflow.Options{URL: j.URL, Journal: mlflow.Journal{Dir: j.Journals, Server: "suite"}})
	if err != nil {
		return err
	}
	switch j.Do {
	case "sync":
		return told(c.Sync(ctx, mlflow.SyncOptions{}))
	case "versions":
		for i := j.From; i < j.To; i++ {
			v, err := c.Models.CreateVersion(ctx, j.Run, fmt.Sprintf("s3://nowhere/%d", i), mlflow.ModelVersionOptions{})
			if err != nil {
				return err
			}
			say("version %d %s", i, v.Version)
		}
		return nil
	}
	return j.log(ctx, func() (*mlflow.Run, error) {
		return c.StartRun(ctx, mlflow.Experiment{ID: j.Experiment}, j.options())
	}, c)
}

// told is the error of a Sync and of all it could not send.
func told(list []mlflow.Backlog, err error) error {
	errs := []error{err}
	for _, b := range list {
		if b.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", b.Path, b.Err))
		}
	}
	return errors.Join(errs...)
}

func (j job) options() mlflow.RunOptions {
	return mlflow.RunOptions{KeepStatus: j.KeepStatus, EndTimeout: j.EndTimeout, SampleEvery: -1}
}

func (j job) log(ctx context.Context, start func() (*mlflow.Run, error), c *mlflow.Client) error {
	say("begin")
	if j.Run != "" {
		start = func() (*mlflow.Run, error) { return c.ResumeRun(ctx, j.Run, j.options()) }
	}
	r, err := start()
	if err != nil {
		return err
	}
	say("uid %s", r.UID)
	pace := time.NewTicker(max(j.Pace, 1))
	defer pace.Stop()
	for n := j.From; n < j.To; n++ {
		if err := j.item(ctx, r, n); err != nil {
			return fmt.Errorf("%d: %w", n, err)
		}
		say("ack %d", n)
		if j.Stop != "" && n%50 == 0 {
			if _, err := os.Stat(j.Stop); err == nil {
				break
			}
		}
		if j.Pace > 0 {
			<-pace.C
		}
	}
	if j.Flush {
		say("flush")
		if err := r.Flush(ctx); err != nil {
			return err
		}
		say("flushed")
	}
	switch j.End {
	case "hang":
		say("waits")
		select {}
	case "exit":
		return nil
	case "close":
		return r.Close()
	}
	say("ending")
	err = r.End(ctx, nil)
	say("ended %d", r.Pending())
	return err
}

// item logs what the number stands for.
func (j job) item(ctx context.Context, r *mlflow.Run, n int) error {
	at := func(key string, value float64) mlflow.Metric {
		m := mlflow.Metric{Key: key, Value: value, Step: int64(n)}
		if j.Points {
			m.Time = time.UnixMilli(1_700_000_000_000 + int64(n))
		}
		return m
	}
	switch kindOf(n) {
	case "param":
		return r.LogParam(ctx, fmt.Sprintf("p%d", n), n)
	case "tag":
		return r.SetTags(ctx, map[string]string{fmt.Sprintf("t%d", n): strconv.Itoa(n), "latest": strconv.Itoa(n)})
	case "artifact":
		return r.LogText(ctx, artifactText(n), artifactName(n))
	case "input":
		return r.LogInputs(ctx, mlflow.DatasetInput{Name: fmt.Sprintf("d%d", n), Digest: strconv.Itoa(n), SourceType: "local", Source: "{}"})
	case "three":
		return r.LogPoints(ctx, at("a", 1), at("b", float64(n)), at("c", -1))
	}
	return r.LogPoints(ctx, at("m", float64(n)/4))
}

func kindOf(n int) string {
	switch {
	case n%200 == 99:
		return "artifact"
	case n%150 == 42:
		return "input"
	case n%50 == 7:
		return "param"
	case n%50 == 13:
		return "tag"
	case n%20 == 5:
		return "three"
	}
	return "one"
}

func artifactName(n int) string { return fmt.Sprintf("files/%d.txt", n) }

// artifactText is short, or too long for a record of the journal.
func artifactText(n int) string {
	if n%400 == 99 {
		return strings.Repeat(strconv.Itoa(n)+"\n", 70_000)
	}
	return strconv.Itoa(n)
}

// project does what a program does that knows nothing but its project.
func (j job) project(ctx context.Context) error {
	begin := time.Now()
	p, err := client.FromProject(ctx, "suite-offline", client.In(j.Experiment))
	if err != nil {
		return err
	}
	r, err := p.StartRun(ctx, mlflow.RunOptions{Name: "offline", EndTimeout: j.EndTimeout, SampleEvery: -1, Tags: map[string]string{"team": "ü"}})
	if err != nil {
		return err
	}
	say("uid %s", r.UID)
	for n := range j.To {
		if err := r.LogMetric(ctx, int64(n), "loss", 1/float64(n+1)); err != nil {
			return err
		}
	}
	if j.Points {
		err = errors.Join(r.SetTags(ctx, map[string]string{"stage": "late"}), r.LogParams(ctx, map[string]any{"lr": 0.1, "layers": 3, "deep": true, "name": "ü"}),
			r.LogInputs(ctx, mlflow.DatasetInput{Name: "wine", Digest: "d1", SourceType: "local", Source: "{}", Context: "training"}),
			r.LogText(ctx, artifactText(1), "notes/a.txt"), r.LogText(ctx, artifactText(99), "notes/b.txt"))
	}
	err = errors.Join(err, r.End(ctx, nil))
	say("took %d %d", time.Since(begin).Microseconds(), r.Pending())
	return err // and not Close, whose word about what waits would be the exit code
}

// program is a running job.
type program struct {
	t      testing.TB
	cmd    *exec.Cmd
	stderr bytes.Buffer

	mu    sync.Mutex
	lines []string
	news  chan struct{} // closed with each line
	over  chan struct{} // closed when it is gone
	err   error
}

// startProgram starts a job in a process of its own.
func startProgram(t testing.TB, j job, env ...string) *program {
	t.Helper()
	b, err := json.Marshal(j)
	require.NoError(t, err)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	self, err := os.Executable()
	require.NoError(t, err)
	p := &program{t: t, cmd: exec.Command(self), news: make(chan struct{}), over: make(chan struct{})}
	p.cmd.Env = append(withoutMLflow(), append(env, jobVariable+"="+string(b), "MLOPS_HOME="+filepath.Join(j.Journals, "home"))...)
	p.cmd.ExtraFiles, p.cmd.Stderr = []*os.File{w}, &p.stderr
	require.NoError(t, p.cmd.Start())
	require.NoError(t, w.Close())
	go func() {
		in := bufio.NewScanner(r)
		for in.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, in.Text())
			close(p.news)
			p.news = make(chan struct{})
			p.mu.Unlock()
		}
		r.Close()
		p.err = p.cmd.Wait()
		close(p.over)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the program at once.
func (p *program) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.over
}

// wait waits for the program's own end.
func (p *program) wait() error {
	<-p.over
	if p.err != nil {
		return fmt.Errorf("%w: %s", p.err, p.stderr.String())
	}
	return nil
}

// after waits until the program said a word, or is gone; and d longer.
func (p *program) after(word string, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		p.mu.Lock()
		_, found := p.find(word)
		news := p.news
		p.mu.Unlock()
		if found {
			break
		}
		select {
		case <-news:
			timer.Reset(d)
		case <-p.over:
			return
		}
	}
	select {
	case <-timer.C:
	case <-p.over:
	}
}

// find looks for a line that begins with a word; the caller holds mu.
func (p *program) find(word string) (string, bool) {
	for _, l := range p.lines {
		if rest, ok := strings.CutPrefix(l, word); ok && (rest == "" || rest[0] == ' ') {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// word is what came behind a word that the program said.
func (p *program) word(word string) (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.find(word)
}

// acknowledged are the numbers that the program was told are kept.
func (p *program) acknowledged() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []int
	for _, l := range p.lines {
		if n, ok := strings.CutPrefix(l, "ack "); ok {
			i, err := strconv.Atoi(n)
			require.NoError(p.t, err)
			out = append(out, i)
		}
	}
	return out
}
