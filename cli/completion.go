package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func completionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "Print the completion script of a shell: bash, zsh or fish",
		ArgsUsage: "<shell>",
		Description: `   eval "$(mlopsctl completion bash)"   # in ~/.bashrc
   eval "$(mlopsctl completion zsh)"    # in ~/.zshrc, after compinit
   mlopsctl completion fish > ~/.config/fish/completions/mlopsctl.fish`,
		Action: func(c *cli.Context) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return usagef("completion: no script for %q; there are bash, zsh and fish", c.Args().First())
			}
			_, err := io.WriteString(e.stdout, script)
			return err
		},
	}
}

// completeCommand is what the scripts call: it gets the words after the
// program's name, the last one unfinished, and prints what may stand there,
// one "word<TAB>what it does" per line. Nothing printed leaves it to the
// shell, which offers files.
func completeCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      completeName,
		Hidden:    true,
		Usage:     "Print completions for the shell",
		ArgsUsage: "[word...]",
		Action: func(c *cli.Context) error {
			for _, w := range e.complete(c.Args().Slice()) {
				if _, err := fmt.Fprintf(e.stdout, "%s\t%s\n", w[0], w[1]); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

const completeName = "__complete"

// complete lists what may stand in place of the last of words.
func (e *env) complete(words []string) [][2]string {
	if len(words) == 0 {
		words = []string{""}
	}
	done, last := words[:len(words)-1], words[len(words)-1]
	r := &reader{env: e, levels: []*level{{name: program, flags: e.app.Flags}}}
	for len(done) > 0 {
		word := done[0]
		done = done[1:]
		switch {
		case word == "--":
			return nil
		case r.isFlag(word):
			before := r.wrong
			done = r.flag(word, done)
			if len(done) == 0 && r.wrong != before && strings.HasSuffix(r.wrong.Error(), "needs a value") {
				name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
				_, f := r.find(name)
				return e.matching(e.flagValues(f), last)
			}
		default:
			if r.word(word) != nil {
				return nil
			}
		}
	}

	var out [][2]string
	add := func(word, usage string) {
		if strings.HasPrefix(word, last) {
			out = append(out, [2]string{word, oneLine(usage)})
		}
	}
	if strings.HasPrefix(last, "-") {
		for i := len(r.levels) - 1; i >= 0; i-- {
			for _, f := range visible(r.levels[i].flags) {
				usage := ""
				if d, ok := f.(cli.DocGenerationFlag); ok {
					_, usage = placeholder(d)
				}
				add("--"+f.Names()[0], usage)
			}
		}
		add("--help", "show help")
		return out
	}
	if len(r.operands) == 0 {
		for _, c := range r.subcommands() {
			if !c.Hidden {
				add(c.Name, c.Usage)
			}
		}
	}
	return append(out, e.matching(e.operandValues(r), last)...)
}

// matching are the values that begin with last.
func (e *env) matching(values []string, last string) [][2]string {
	var out [][2]string
	for _, v := range values {
		if strings.HasPrefix(v, last) {
			out = append(out, [2]string{v, ""})
		}
	}
	return out
}

// flagValues are what may be given to a flag; none leaves it to the shell.
func (e *env) flagValues(f cli.Flag) []string {
	if f == nil {
		return nil
	}
	switch f.Names()[0] {
	case "runtime":
		return []string{"docker", "process"}
	case "method":
		return []string{"chisquare", "jensenshannon", "ks", "mannw_two_sided", "psi", "psi_reference", "wasserstein", "z"}
	case "engine":
		return []string{string(client.EngineEvidently), string(client.EngineNative)}
	case "project":
		return e.ask(projectNames)
	case "state":
		return []string{"failed", "queued", "running", "success"}
	}
	return nil
}

// operandValues are what may stand as the next operand of a command.
func (e *env) operandValues(r *reader) []string {
	n := len(r.operands)
	switch command := strings.TrimPrefix(r.in.name(), program+" "); command {
	case "completion":
		return []string{"bash", "fish", "zsh"}[:3*max(0, 1-n)]
	case "start", "stop", "restart", "logs":
		return serviceNames
	case "register":
		return e.ask(projectNames)
	case "pool set", "asset event", "variable get", "variable set", "variable rm", "connection get", "connection set", "connection rm":
		if n == 0 {
			noun, _, _ := strings.Cut(command, " ")
			return e.ask(airflowNames[noun])
		}
	case "why":
		return e.ask(deploymentNames)
	case "deploy", "model list", "model alias", "model tag", "model copy", "model delete":
		if n == 0 {
			return e.ask(modelNames)
		}
	}
	if len(r.in.path) == 2 && r.in.path[0].Name == "dag" {
		return e.dagOperands(r)
	}
	return nil
}

// serviceNames are the services of a stack, and the groups of several.
var serviceNames = []string{"agent", "airflow", "airflow-api-server", "airflow-dag-processor", "airflow-scheduler", "airflow-triggerer", "evidently", "mlflow", "postgres", "ray", "s3"}

// ask gets values from a server, which has a moment to answer: a user does not wait for
// completions.
func (e *env) ask(names func(context.Context, *client.Client) ([]string, error)) []string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	home, err := e.home()
	if err != nil {
		return nil
	}
	infra, err := client.Open(ctx, client.WithHome(home))
	if err != nil {
		return nil
	}
	defer infra.Close()
	list, _ := names(ctx, infra) // what came is offered
	return list
}

func projectNames(ctx context.Context, infra *client.Client) (list []string, _ error) {
	for w, err := range infra.Projects(ctx) {
		if err != nil {
			return list, err
		}
		list = append(list, w.Project)
	}
	return list, nil
}

func deploymentNames(ctx context.Context, infra *client.Client) (list []string, _ error) {
	for a, err := range infra.Serve.Applications(ctx) {
		if err != nil {
			return list, err
		}
		list = append(list, a.Name)
	}
	return list, nil
}

func modelNames(ctx context.Context, infra *client.Client) (list []string, _ error) {
	for m, err := range infra.MLflow.Models.All(ctx, mlflow.ModelQuery{}) {
		if err != nil {
			return list, err
		}
		list = append(list, m.Name)
	}
	return list, nil
}

var completionScripts = map[string]string{
	"bash": `# bash completion for mlopsctl; in ~/.bashrc: eval "$(mlopsctl completion bash)"
_mlopsctl() {
	local IFS=$'\n' line=${COMP_LINE:0:COMP_POINT} word
	local -a words
	COMPREPLY=()
	# bash splits words at "=" and ":"; the line itself does not
	IFS=$' \t\n' read -r -a words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=("")
	for word in $("${COMP_WORDS[0]}" __complete -- "${words[@]:1}" 2>/dev/null); do
		COMPREPLY+=("${word%%$'\t'*}")
	done
}
complete -o default -F _mlopsctl mlopsctl
`,
	"zsh": `#compdef mlopsctl
# zsh completion for mlopsctl; source it after compinit, or save it as _mlopsctl in a folder of $fpath
_mlopsctl() {
	local line
	local -a found
	for line in "${(@f)$("${words[1]}" __complete -- "${(@)words[2,$CURRENT]}" 2>/dev/null)}"; do
		[[ -n $line ]] || continue
		found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
	done
	if (( ${#found} )); then
		_describe mlopsctl found
	else
		_files
	fi
}
compdef _mlopsctl mlopsctl
`,
	"fish": `# fish completion for mlopsctl; save it as ~/.config/fish/completions/mlopsctl.fish
function __mlopsctl_complete
	set -l words (commandline -opc) (commandline -ct)
	$words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c mlopsctl -n 'test -n "$(__mlopsctl_complete)"' -f
complete -c mlopsctl -a '(__mlopsctl_complete)'
`,
}
