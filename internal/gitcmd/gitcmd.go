// Package gitcmd is the one place that runs git.
//
// Its commands start no program that a cloned repository names: a clone may hold
// a folder that git takes for a bare repository, with a configuration of its own.
// The user's configuration and .git/config, which no clone brings, count as they
// do for git itself, so that filters such as Git LFS work.
package gitcmd

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"time"
)

// settings hold for every command. Source: git-config(1).
var settings = []string{
	"safe.bareRepository=explicit", // a folder of a work tree is no repository
	"core.fsmonitor=false",
	"core.hooksPath=/dev/null",
	"core.pager=cat",
	"core.quotePath=false",
	"submodule.recurse=false",
	"protocol.ext.allow=never",
}

// dropped are variables of the environment that lead git to another repository
// than the one asked for, as in a hook, or that mix text into its output.
var dropped = map[string]bool{
	"GIT_CONFIG": true, "GIT_DIR": true, "GIT_WORK_TREE": true, "GIT_COMMON_DIR": true, "GIT_INDEX_FILE": true, "GIT_PREFIX": true, "GIT_NAMESPACE": true,
	"GIT_OBJECT_DIRECTORY": true, "GIT_ALTERNATE_OBJECT_DIRECTORIES": true, "GIT_SHALLOW_FILE": true, "GIT_GRAFT_FILE": true,
	"GIT_EXTERNAL_DIFF": true, "GIT_DIFF_OPTS": true, "GIT_PAGER": true, "GIT_LITERAL_PATHSPECS": true, "GIT_GLOB_PATHSPECS": true,
	"GIT_NOGLOB_PATHSPECS": true, "GIT_ICASE_PATHSPECS": true, "GIT_ALLOW_PROTOCOL": true,
}

// Protocols are those by which git talks to other repositories.
var Protocols = []string{"file", "git", "http", "https", "ssh"}

// Command returns git in the repository that dir is in. It asks for no password
// and takes no optional lock.
func Command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	all := make([]string, 0, 2*len(settings)+len(args))
	for _, s := range settings {
		all = append(all, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "git", append(all, args...)...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if !dropped[name] && !strings.HasPrefix(name, "GIT_TRACE") && name != "LC_ALL" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_ALLOW_PROTOCOL="+strings.Join(Protocols, ":"), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	return cmd
}

// Apart returns git outside of any repository, for what it does with a URL.
func Apart(ctx context.Context, args ...string) *exec.Cmd { return Command(ctx, "/", args...) }
