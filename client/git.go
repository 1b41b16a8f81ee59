package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/internal/gitcmd"
)

// maxDiff is how much of a work tree's difference is kept.
const maxDiff = 256 << 10

// provenance describes what makes a run: the program, the machine and the work
// tree that dir is in. diff is how the tree differs from its commit, without
// binary files, at most 256 KiB, and without what looks like a secret; nil if
// it does not differ. It never fails: what cannot be found out is left out. It
// takes two git processes side by side, and a third if there is a difference.
//
// The tags mlflow.source.git.commit, .branch and .repoURL are set as MLflow
// 3.17 sets them (tracking/context/git_context.py, measured): no branch for a
// detached HEAD, the first remote of the configuration without its user
// information, nothing before the first commit. .dirty is MLflow's name too,
// which its run context leaves out. All else is under "mlops.", the task of
// Airflow that it runs in under "mlops.airflow.".
func provenance(ctx context.Context, dir string) (tags map[string]string, diff []byte) {
	tags = map[string]string{"mlops.host.os": runtime.GOOS + "/" + runtime.GOARCH}
	if host, err := os.Hostname(); err == nil {
		tags["mlops.host.name"] = host
	}
	buildTags(tags)
	airflowTags(tags)

	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tree := git{ctx, dir}
	remotes := make(chan string, 1)
	go func() {
		out, _ := tree.output("config", "--get-regexp", `^remote\..*\.url$`)
		remotes <- out
	}()
	state, err := tree.output("status", "--porcelain=v2", "--branch", "--untracked-files=no")
	first := <-remotes
	if err != nil || !stateTags(tags, state) {
		return tags, nil
	}
	if first, _, _ = strings.Cut(first, "\n"); first != "" {
		_, url, _ := strings.Cut(first, " ")
		tags["mlflow.source.git.repoURL"] = publicURL(url)
	}
	if tags["mlflow.source.git.dirty"] == "false" {
		return tags, nil
	}
	return tags, tree.diff(tags)
}

// airflowTags names the task that the program runs in, by what Airflow puts into
// the environment of its tasks (airflow/sdk/execution_time/context.py,
// context_to_airflow_vars).
func airflowTags(tags map[string]string) {
	if os.Getenv("AIRFLOW_CTX_DAG_RUN_ID") == "" {
		return
	}
	for tag, variable := range map[string]string{
		"mlops.airflow.dag_id": "AIRFLOW_CTX_DAG_ID", "mlops.airflow.run_id": "AIRFLOW_CTX_DAG_RUN_ID",
		"mlops.airflow.task_id": "AIRFLOW_CTX_TASK_ID", "mlops.airflow.try": "AIRFLOW_CTX_TRY_NUMBER",
	} {
		if v := os.Getenv(variable); v != "" {
			tags[tag] = v
		}
	}
}

// buildTags tells how the program was built, as far as the compiler kept it.
func buildTags(tags map[string]string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	tags["mlops.go.version"] = info.GoVersion
	if info.Main.Path != "" {
		tags["mlops.go.module"] = info.Main.Path
	}
	if info.Main.Version != "" {
		tags["mlops.go.module_version"] = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			tags["mlops.go.vcs_revision"] = s.Value
		case "vcs.modified":
			tags["mlops.go.vcs_modified"] = s.Value
		}
	}
}

// stateTags reads what git status said; false means that there is no commit.
func stateTags(tags map[string]string, state string) bool {
	commit, branch, dirty := "", "", false
	for line := range strings.Lines(state) {
		line = strings.TrimSuffix(line, "\n")
		if oid, ok := strings.CutPrefix(line, "# branch.oid "); ok {
			commit = oid
		} else if head, ok := strings.CutPrefix(line, "# branch.head "); ok {
			branch = head
		} else if !strings.HasPrefix(line, "#") {
			dirty = true
		}
	}
	if commit == "" || commit == "(initial)" {
		return false
	}
	tags["mlflow.source.git.commit"] = commit
	if branch != "(detached)" {
		tags["mlflow.source.git.branch"] = branch
	}
	tags["mlflow.source.git.dirty"] = strconv.FormatBool(dirty)
	return true
}

// git asks about the work tree that dir is in.
type git struct {
	ctx context.Context
	dir string
}

func (g git) output(args ...string) (string, error) {
	out, err := gitcmd.Command(g.ctx, g.dir, args...).Output()
	return string(out), err
}

// diff returns the difference to the commit, and says in tags what is not in it.
func (g git) diff(tags map[string]string) []byte {
	cmd := gitcmd.Command(g.ctx, g.dir, "diff", "HEAD", "--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--submodule=short")
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(out, maxDiff+1))
	whole := len(text) <= maxDiff
	if !whole {
		_ = cmd.Process.Kill()
	}
	if werr := cmd.Wait(); err != nil || whole && werr != nil || len(text) == 0 {
		return nil
	}
	if !whole {
		text = text[:bytes.LastIndexByte(text[:maxDiff], '\n')+1]
	}
	text, left := redactDiff(text)

	// What stands before the first file is no part of the patch for git apply.
	var notes bytes.Buffer
	if !whole {
		tags["mlops.git.diff_cut"] = "true"
		fmt.Fprintf(&notes, "# cut: only the first %d KiB of the difference are here\n", maxDiff>>10)
	}
	if left > 0 {
		tags["mlops.git.diff_redacted"] = strconv.Itoa(left)
		fmt.Fprintf(&notes, "# lines that look like secrets and are left out: %d\n", left)
	}
	return append(notes.Bytes(), text...)
}
