package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"
)

func manCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "Write the manual pages of all commands into a folder",
		ArgsUsage: "[folder]",
		Description: `   mlopsctl man ~/.local/share/man/man1 && man mlopsctl-run-exec
   mlopsctl man | man -l -          the page of mlopsctl itself, to standard output`,
		Action: func(c *cli.Context) error {
			dir := c.Args().First()
			if dir == "" {
				return e.print(strings.TrimSuffix(e.manPage(nil), "\n"), map[string]string{"page": e.manPage(nil)})
			}
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			return e.writeManPages(dir, nil)
		},
	}
}

// writeManPages writes the page of the command at the end of path, and those
// of all below it.
func (e *env) writeManPages(dir string, path []*cli.Command) error {
	name := strings.ReplaceAll(invocation{path: path}.name(), " ", "-")
	if err := os.WriteFile(filepath.Join(dir, name+".1"), []byte(e.manPage(path)), 0o644); err != nil {
		return err
	}
	for _, c := range e.subcommandsOf(path) {
		if err := e.writeManPages(dir, append(path[:len(path):len(path)], c)); err != nil {
			return err
		}
	}
	return nil
}

// subcommandsOf are the visible commands below path.
func (e *env) subcommandsOf(path []*cli.Command) (out []*cli.Command) {
	all := e.app.Commands
	if len(path) > 0 {
		all = path[len(path)-1].Subcommands
	}
	for _, c := range all {
		if !c.Hidden {
			out = append(out, c)
		}
	}
	return out
}

// manPage is a page in the macros of man(7). Its body is what --help prints.
func (e *env) manPage(path []*cli.Command) string {
	at := invocation{path: path}.name()
	name := strings.ReplaceAll(at, " ", "-")
	first, body, _ := strings.Cut(e.help(path), "\n")
	_, usage, _ := strings.Cut(first, ": ")
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"%s\" \"User Commands\"\n", roff(strings.ToUpper(name)), roff(program+" "+build().Version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(usage))
	b.WriteString(".SH DESCRIPTION\n.nf\n")
	for l := range strings.Lines(strings.TrimLeft(body, "\n")) {
		b.WriteString(roff(strings.TrimRight(l, "\n")) + "\n")
	}
	b.WriteString(".fi\n")
	if len(path) == 0 {
		b.WriteString(".SH \"EXIT STATUS\"\n")
		for _, row := range exitTable {
			fmt.Fprintf(&b, ".TP\n%s\n%s\n", roff(row[0]), roff(row[1]))
		}
	}
	var also []string
	for _, c := range e.subcommandsOf(path) {
		also = append(also, ".BR "+roff(name+"-"+c.Name)+" (1)")
	}
	if len(path) > 0 {
		also = append(also, ".BR "+roff(strings.ReplaceAll(invocation{path: path[:len(path)-1]}.name(), " ", "-"))+" (1)")
	}
	b.WriteString(".SH \"SEE ALSO\"\n" + strings.Join(also, "\n") + "\n")
	return b.String()
}

// roff escapes what would be a command of roff.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`).Replace(s)
	if strings.HasPrefix(s, ".") {
		s = `\&` + s
	}
	var b strings.Builder
	for _, r := range s {
		if r < unicode.MaxASCII {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}
