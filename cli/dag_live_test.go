package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/cli"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/compose"
	"github.com/mlops-integration/mlops/internal/cassette"
)

// said is mlopsctl with a text on standard input; it returns stdout and stderr.
func said(t *testing.T, want int, stdin string, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code := cli.Main(t.Context(), args, strings.NewReader(stdin), &out, &talk)
	require.Equal(t, want, code, "mlopsctl %s\n%s%s", strings.Join(args, " "), out.String(), talk.String())
	return out.String(), talk.String()
}

// afterwards runs mlopsctl when the test has ended, well or not; what is not there
// any more is no fault.
func afterwards(t *testing.T, args ...string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		var out, talk bytes.Buffer
		code := cli.Main(ctx, args, strings.NewReader(""), &out, &talk)
		require.Contains(t, []int{0, 3}, code, "mlopsctl %s\n%s", strings.Join(args, " "), talk.String())
	})
}

// tried is mlopsctl where another goroutine than the test's may call it.
func tried(t *testing.T, args ...string) (stdout string, ok bool) {
	var out, talk bytes.Buffer
	code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &talk)
	return out.String(), code == 0
}

// removePool removes a pool when the test has ended: there is no verb for it.
func removePool(t *testing.T, name string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		p, err := client.Open(ctx)
		require.NoError(t, err)
		defer p.Close()
		if err := p.Airflow.Pools.Delete(ctx, name); !errors.Is(err, mlops.ErrNotFound) {
			require.NoError(t, err)
		}
	})
}

// pipeline fails once, until the file beside it is there, and asks a person.
const pipeline = `
id: verbs
params: {rank: {type: integer, default: 8}}
schedule: 0 3 * * *
start: 2100-01-01T00:00:00Z # it runs when it is triggered only
tasks:
  - {id: first, bash: 'echo "{\"loss\": 0.5}" > "$MLOPS_RETURN_FILE"; echo said by first', outlets: [{name: %[1]s}]}
  - {id: parts, bash: 'echo "part $MLOPS_ITEM"', each: [a, b], after: [first]}
  - {id: mended, bash: 'test -e %[2]s', after: [parts]}
  - {id: sure, decision: {subject: "Deploy it?"}, after: [mended], retries: 5, retry_delay: 1s}
`

func TestVerbsForPipelinesDriveTheRealAirflow(t *testing.T) {
	if !cassette.Live() {
		t.Skip("not live: needs the running Airflow (make test)")
	}
	name, dir := fmt.Sprintf("verbs-%08x", rand.Uint32()), t.TempDir()
	mended := filepath.Join(dir, "mended")
	with := func(args ...string) []string { return append(args, "-p", name, "-C", dir) }
	removePool(t, "mlops."+name) // last: the DAG is in it
	afterwards(t, with("dag", "rm", "verbs")...)
	said(t, 0, fmt.Sprintf(pipeline, name, mended), with("dag", "declare", "-f", "-")...)

	t.Run("lists and shows", func(t *testing.T) {
		type dag struct {
			ID       string     `json:"dag_id"`
			State    string     `json:"state"`
			Schedule string     `json:"schedule"`
			NextRun  *time.Time `json:"next_run"`
		}
		list := documents[[]dag](t, with("dag", "list")...)
		require.Len(t, list, 1)
		require.Equal(t, dag{name + ".verbs", "active", "0 3 * * *", list[0].NextRun}, list[0])
		require.NotNil(t, list[0].NextRun)
		shown := documents[map[string]any](t, with("dag", "show", "verbs")...)
		require.Len(t, shown["tasks"], 4)
		require.Contains(t, shown["params"], "rank")
		require.Contains(t, mlopsctl(t, 0, with("dag", "show", "verbs")...), "dag\tschedule\t0 3 * * *")
		mlopsctl(t, 3, with("dag", "show", "nothing")...)
	})

	run := strings.TrimSpace(mlopsctl(t, 0, with("dag", "trigger", "verbs")...))
	mlopsctl(t, 1, with("dag", "wait", "verbs", run, "--wait-timeout", "5m")...)
	t.Run("runs, tasks and values", func(t *testing.T) {
		require.Contains(t, mlopsctl(t, 0, with("dag", "runs", "verbs", "--state", "failed", "-n", "1")...), run+"\tfailed\tmanual\t")
		require.Empty(t, documents[[]any](t, with("dag", "runs", "verbs", "--state", "queued")...))
		tasks := mlopsctl(t, 0, with("dag", "tasks", "verbs", run)...)
		require.Contains(t, tasks, "mended\t\tfailed\t1\t")
		require.Contains(t, tasks, "parts\t1\tsuccess\t1\t")
		require.Contains(t, tasks, "sure\t\tupstream_failed\t")
		require.Equal(t, "{\"loss\": 0.5}\n", strings.ReplaceAll(mlopsctl(t, 0, with("dag", "xcom", "verbs", run, "first")...), ":0", ": 0"))
		require.Equal(t, "part b\n", mlopsctl(t, 0, with("dag", "xcom", "verbs", run, "parts", "--map-index", "1")...))
		require.Equal(t, "\"part b\"\n", mlopsctl(t, 0, with("dag", "xcom", "verbs", run, "parts", "--map-index", "1", "--json")...))
		mlopsctl(t, 3, with("dag", "xcom", "verbs", run, "mended")...)
		mlopsctl(t, 3, with("dag", "tasks", "verbs", "nothing")...)
	})

	t.Run("a rerun and a decision", func(t *testing.T) {
		if os.Getenv("MLOPS_RUNTIME") == compose.DockerRuntime {
			t.Skip("of the process runtime: the task looks for a file of this machine")
		}
		require.NoError(t, os.WriteFile(mended, nil, 0o600))
		require.Equal(t, run+"\n", mlopsctl(t, 0, with("dag", "rerun", "verbs", run)...))
		// It asks again if Airflow lost the end of its first half (apache/airflow#72716).
		require.Eventually(t, func() bool {
			var asked []struct {
				Subject  string
				Answered bool
			}
			out, ok := tried(t, with("dag", "decide", "verbs", run, "--json")...)
			if ok && json.Unmarshal([]byte(out), &asked) == nil && len(asked) == 1 && !asked[0].Answered {
				tried(t, with("dag", "decide", "verbs", run, "sure", "Approve")...)
			}
			out, _ = tried(t, with("dag", "runs", "verbs", "-n", "1")...)
			return strings.Contains(out, "\tsuccess\t")
		}, 4*time.Minute, time.Second)
		require.Contains(t, mlopsctl(t, 0, with("dag", "decide", "verbs", run, "sure")...), "sure\t\tDeploy it?\tApprove,Reject\tApprove")
		mlopsctl(t, 2, with("dag", "decide", "verbs", run, "sure", "Approve", "--input", "x")...)
		require.Contains(t, mlopsctl(t, 0, with("dag", "tasks", "verbs", run)...), "first\t\tsuccess\t1\t", "what had succeeded did not run again")
	})

	t.Run("completion", func(t *testing.T) {
		offers := func(want string, words ...string) {
			t.Helper()
			require.Eventually(t, func() bool { // the server has 2 s, a busy one takes longer
				out, _ := tried(t, append([]string{"__complete", "--"}, words...)...)
				return strings.Contains(out, want+"\t\n")
			}, time.Minute, time.Second, "%s for %v", want, words)
		}
		offers("verbs", "dag", "show", "-p", name, "v")
		offers(run, "dag", "tasks", "-p", name, "verbs", run[:9])
		offers("mended", "dag", "logs", "-p", name, "verbs", run, "m")
		offers("failed", "dag", "runs", "-p", name, "verbs", "--state", "f")
		offers("mlops."+name, "pool", "set", "mlops."+name)
		offers(name, "asset", "event", name)
	})

	t.Run("pools and assets", func(t *testing.T) {
		pool := name + "-gpu"
		removePool(t, pool)
		mlopsctl(t, 0, "pool", "set", pool, "2")
		require.Contains(t, mlopsctl(t, 0, "pool", "list"), pool+"\t2\t2\t0\t0\t0\n")
		mlopsctl(t, 0, "pool", "set", pool, "1")
		require.Contains(t, mlopsctl(t, 0, "pool", "list"), pool+"\t1\t")
		require.Contains(t, mlopsctl(t, 0, "asset", "list"), name+"\t")
		event := documents[map[string]any](t, "asset", "event", name, "--extra", `{"rows": 3}`)
		require.Equal(t, name, event["name"])
		mlopsctl(t, 3, "asset", "event", name+"-none")
	})

	t.Run("variables", func(t *testing.T) {
		key, secret := name+"-bucket", name+"-api_key"
		afterwards(t, "variable", "rm", key)
		afterwards(t, "variable", "rm", secret)
		said(t, 0, "s3://lora\n", "variable", "set", key, "--description", "of data")
		require.Equal(t, "s3://lora\n", mlopsctl(t, 0, "variable", "get", key))
		said(t, 0, "s3://other", "variable", "set", key)
		require.Contains(t, mlopsctl(t, 0, "variable", "list"), key+"\ts3://other\tof data\n", "the description stays")
		file := filepath.Join(dir, "key.txt")
		require.NoError(t, os.WriteFile(file, []byte("canary-1234\n"), 0o600))
		mlopsctl(t, 0, "variable", "set", secret, "--file", file)
		require.Contains(t, mlopsctl(t, 0, "variable", "list"), secret+"\t***\t")
		_, talk := said(t, 4, "", "variable", "get", secret)
		require.NotContains(t, talk, "canary")
		said(t, 2, "***", "variable", "set", secret)
		for _, k := range []string{key, secret} {
			mlopsctl(t, 0, "variable", "rm", k)
			mlopsctl(t, 3, "variable", "get", k)
		}
	})

	t.Run("connections", func(t *testing.T) {
		id := name + "-warehouse"
		afterwards(t, "connection", "rm", id)
		said(t, 0, `{"conn_type": "postgres", "host": "db", "port": 5432, "password": "canary-1234", "extra": {"sslmode": "require", "api_key": "canary-5678"}}`, "connection", "set", id)
		out := mlopsctl(t, 0, "connection", "get", id, "--json")
		require.NotContains(t, out, "canary")
		require.Contains(t, out, `"password":"***"`)
		require.Contains(t, out, `"sslmode":"require"`)
		require.Contains(t, mlopsctl(t, 0, "connection", "list"), id+"\tpostgres\tdb\t")
		_, talk := said(t, 2, out, "connection", "set", id)
		require.Contains(t, talk, "which stand for a value that is not shown")
		said(t, 0, `{"conn_type": "postgres", "host": "other"}`, "connection", "set", id)
		require.Contains(t, mlopsctl(t, 0, "connection", "get", id), "password\t***", "one that is left out stays")
		_, talk = said(t, 2, `{"conn_type": "x", "pasword": "canary-1234"}`, "connection", "set", id)
		require.NotContains(t, talk, "canary")
	})
}
