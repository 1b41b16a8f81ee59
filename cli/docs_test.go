package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// docPages are README.md and the pages of docs/.
func docPages(t *testing.T) []string {
	pages, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	return append([]string{"../README.md"}, pages...)
}

// fenced matches a fenced block: its info string and its text.
var fenced = regexp.MustCompile("(?ms)^```([a-z ]*)\n(.*?)^```$")

// shellOf holds the shell blocks of page, on the lines that they have there;
// with offline only those marked "sh offline".
func shellOf(page string, offline bool) string {
	var b strings.Builder
	end := 0
	for _, m := range fenced.FindAllStringSubmatchIndex(page, -1) {
		info := page[m[2]:m[3]]
		if info == "sh offline" || !offline && (info == "sh" || info == "") {
			b.WriteString(strings.Repeat("\n", strings.Count(page[end:m[4]], "\n")) + page[m[4]:m[5]])
			end = m[5]
		}
	}
	return b.String()
}

func TestTheCommandsInTheDocsAreOnesThatMlopsctlTakes(t *testing.T) {
	for _, page := range docPages(t) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, wrong := range wrongCommands(shellOf(string(text), false)) {
			t.Errorf("%s:%s", page, wrong)
		}
	}
}

func TestTheExamplesInTheHelpAreOnesThatMlopsctlTakes(t *testing.T) {
	remark := regexp.MustCompile(`(?m)(\S)  +.*$`) // what stands beside an example
	e := newEnv(strings.NewReader(""), io.Discard, io.Discard, commands)
	leaves("", e.app.Commands, func(name string, c *cli.Command) {
		for _, wrong := range wrongCommands(remark.ReplaceAllString(c.Description, "$1")) {
			t.Errorf("%s --help:%s", name, wrong)
		}
	})
}

func TestAWrongCommandInTheDocsIsFound(t *testing.T) {
	for script, want := range map[string]string{
		"mlopsctl run start --nmae x":                     "1: mlopsctl run start --nmae x: unknown flag --nmae",
		"# a remark\n\nmlopsctl rnu start":                `3: mlopsctl rnu start: unknown command "rnu"`,
		"run=$(mlopsctl run strat -p demo)":               `1: mlopsctl run strat -p demo: unknown command "strat"`,
		`eval "$(mlopsctl status --evn)"`:                 "1: mlopsctl status --evn: unknown flag --evn",
		"cat rows.csv | mlopsctl predict -p demo > out":   "1: mlopsctl predict -p demo: predict: <deployment> is missing",
		"make && A=b ./bin/mlopsctl version now":          `1: mlopsctl version now: version: unexpected operand "now"`,
		"if mlopsctl dag wait retrain; then echo; fi":     "1: mlopsctl dag wait retrain: dag wait: <run-id> is missing",
		"mlopsctl run list \\\n  -n many":                 "1: mlopsctl run list -n many: ",
		"mlopsctl drift check a b --share '0.5 of all'":   "1: mlopsctl drift check a b --share 0.5 of all: ",
		"mlopsctl status # --nope, and $(mlopsctl nope)":  "",
		"echo 'mlopsctl nope; mlopsctl nope'":             "",
		"mlopsctl metric log --run \"$run\" a=1 2>&1 >&2": "",
	} {
		got := strings.Join(wrongCommands(script), "\n")
		require.True(t, want == "" && got == "" || want != "" && strings.HasPrefix(got, want), "%s: %s", script, got)
	}
}

// wrongCommands are the calls of mlopsctl in a shell script that it would
// refuse as they are written, each with its line and the reason.
func wrongCommands(script string) (wrong []string) {
	r := shellReader{text: script}
	r.read(false)
	for _, c := range r.commands {
		e := newEnv(strings.NewReader(""), io.Discard, io.Discard, commands)
		disarm(e.app.Commands)
		if err := e.run(context.Background(), c.args); err != nil {
			wrong = append(wrong, fmt.Sprintf("%d: %s %s: %v", c.line, program, strings.Join(c.args, " "), err))
		}
	}
	return wrong
}

// disarm lets commands be read, and do nothing.
func disarm(list []*cli.Command) {
	for _, c := range list {
		if c.Action != nil {
			c.Action = func(*cli.Context) error { return nil }
		}
		disarm(c.Subcommands)
	}
}

// shellReader finds the calls of mlopsctl in a script of what a page shows:
// words, quotes, remarks, $(…), lists, pipes, redirections and assignments.
type shellReader struct {
	text     string
	at       int
	commands []shellCall
}

type shellCall struct {
	line int
	args []string
}

var (
	assignment = regexp.MustCompile(`^[A-Za-z_]\w*=`)
	keywords   = []string{"if", "then", "else", "while", "until", "do", "!", "exec", "time"}
)

// read reads to the end of the text, or of the parenthesis that it is inside of.
func (r *shellReader) read(inside bool) {
	var (
		words          []string
		word           string
		begun, dropped bool // a word is; it names a file to read or write
		line           int
	)
	endWord := func() {
		if begun && !dropped {
			words = append(words, word)
		}
		dropped = dropped && !begun
		begun, word = false, ""
	}
	end := func() {
		endWord()
		for len(words) > 0 && (assignment.MatchString(words[0]) || slices.Contains(keywords, words[0])) {
			words = words[1:]
		}
		if len(words) > 0 && filepath.Base(words[0]) == program {
			r.commands = append(r.commands, shellCall{line, words[1:]})
		}
		words, dropped = nil, false
	}
	add := func(text string) {
		if len(words) == 0 && !begun {
			line = 1 + strings.Count(r.text[:r.at], "\n")
		}
		word, begun = word+text, true
	}
	for quoted := false; r.at < len(r.text); {
		c := r.text[r.at]
		r.at++
		switch {
		case c == '\\' && r.at < len(r.text):
			if r.text[r.at] != '\n' {
				add(r.text[r.at : r.at+1])
			}
			r.at++
		case c == '"':
			quoted = !quoted
			add("")
		case c == '$' && strings.HasPrefix(r.text[r.at:], "("):
			add("it")
			r.at++
			r.read(true)
		case quoted:
			add(string([]byte{c}))
		case c == '\'':
			text, _, _ := strings.Cut(r.text[r.at:], "'")
			add(text)
			r.at += len(text) + 1
		case c == '#' && !begun:
			text, _, _ := strings.Cut(r.text[r.at:], "\n")
			r.at += len(text)
		case c == '<' || c == '>':
			if strings.Trim(word, "0123456789") == "" {
				begun, word = false, ""
			}
			endWord()
			r.at += len(r.text[r.at:]) - len(strings.TrimLeft(r.text[r.at:], ">&"))
			dropped = true
		case c == ' ' || c == '\t':
			endWord()
		case strings.IndexByte("\n;|&", c) >= 0:
			end()
		case c == '(':
			end()
			r.read(true)
		case c == ')':
			end()
			if inside {
				return
			}
		default:
			add(string([]byte{c}))
		}
	}
	end()
}

// offlineFiles are the files that the pages' commands read.
const offlineFiles = `
-- data/train.csv --
length,label
5.1,0
6.3,1
-- plot.png --
a picture
-- train.sh --
mlopsctl metric log --step 1 loss=0.5
`

// TestTheDocsCommandsRunWithoutServers runs the blocks marked "sh offline" of
// each page, in the page's order.
func TestTheDocsCommandsRunWithoutServers(t *testing.T) {
	dir := t.TempDir()
	var ran []string
	for _, page := range docPages(t) {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		script := shellOf(string(text), true)
		if strings.TrimSpace(script) == "" {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		ran = append(ran, name)
		whole := "exec sh -eux page.sh\n-- page.sh --\n" + script + offlineFiles
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".txtar"), []byte(whole), 0o644))
	}
	require.Subset(t, ran, []string{"apple-silicon", "data", "stack", "tracking"})
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for name, value := range map[string]string{
				"HOME": env.WorkDir + "/home", "XDG_CONFIG_HOME": env.WorkDir + "/home/.config", "GIT_CONFIG_NOSYSTEM": "1",
				"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.com",
				"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", // no server listens
			} {
				env.Setenv(name, value)
			}
			recording, err := os.ReadFile("../testdata/applesilicon/m3max.ndjson")
			if err != nil {
				return err
			}
			if err := os.WriteFile(env.WorkDir+"/mac.ndjson", recording, 0o644); err != nil {
				return err
			}
			return setUp(env)
		},
	})
}

// anchors are what GitHub calls the headings of a page in links.
func anchors(t *testing.T, page string) (names []string) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, "#"+strings.ReplaceAll(strings.ToLower(m[1]), " ", "-"))
	}
	return names
}

func TestDocsListTheirPagesAndLinkToFilesThatAreThere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	list, err := os.ReadFile("../docs/README.md")
	require.NoError(t, err)
	for _, page := range docPages(t) {
		if name := filepath.Base(page); name != "README.md" {
			require.Contains(t, string(list), "("+name+")")
		}
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			target := filepath.Join(filepath.Dir(page), m[1])
			_, err := os.Stat(target)
			require.NoError(t, err, page)
			if m[2] != "" {
				require.Contains(t, anchors(t, target), m[2], page)
			}
		}
	}
}
