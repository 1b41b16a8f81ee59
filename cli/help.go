package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// help is what --help prints for the command at the end of path: what it does,
// examples, then commands and flags.
func (e *env) help(path []*cli.Command) string {
	var b strings.Builder
	at := invocation{path: path}.name()
	if len(path) == 0 {
		fmt.Fprintf(&b, "%s: MLflow, DVC, Airflow, Ray Serve and Evidently as one\n\nUsage: %s <command> [flags]\n\n", program, program)
		b.WriteString(`Examples:
   mlopsctl setup                                  install the servers, once
   mlopsctl start                                  start them
   mlopsctl demo                                   take a project from data to a served, watched model
   run=$(mlopsctl run start -p demo --name first)  track a run from a shell script
   mlopsctl metric log --run "$run" loss=0.31
`)
		b.WriteString(commandList("Commands", e.app.Commands))
		b.WriteString(flagList("Flags for all commands", e.app.Flags))
		fmt.Fprintf(&b, "\n%s <command> --help tells more about one.\n", program)
		return b.String()
	}

	c := path[len(path)-1]
	fmt.Fprintf(&b, "%s: %s\n\nUsage: %s", at, c.Usage, at)
	if len(c.Subcommands) > 0 {
		b.WriteString(" <command>")
	}
	if c.ArgsUsage != "" {
		b.WriteString(" " + c.ArgsUsage)
	}
	b.WriteString(" [flags]\n")
	if len(c.Aliases) > 0 {
		fmt.Fprintf(&b, "Also: %s\n", strings.Join(c.Aliases, ", "))
	}
	if d := strings.Trim(c.Description, "\n"); d != "" {
		b.WriteString("\n" + indented(d))
	}
	b.WriteString(commandList("Commands", c.Subcommands))
	for i := len(path) - 1; i >= 0; i-- {
		b.WriteString(flagList("Flags", path[i].Flags))
	}
	b.WriteString(flagList("Flags for all commands", e.app.Flags))
	return b.String()
}

// indented sets text three columns in, whatever the source did with its first
// line.
func indented(text string) string {
	var b strings.Builder
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) != "" && !strings.HasPrefix(l, "   ") {
			b.WriteString("   ")
		}
		b.WriteString(strings.TrimRight(l, " \t\n") + "\n")
	}
	return b.String()
}

// commandList lists commands under their categories, or under title.
func commandList(title string, commands []*cli.Command) string {
	rows := map[string][][2]string{}
	var titles []string // in the order of the commands
	for _, c := range commands {
		if c.Hidden {
			continue
		}
		t := title
		if c.Category != "" {
			t = c.Category
		}
		if rows[t] == nil {
			titles = append(titles, t)
		}
		rows[t] = append(rows[t], [2]string{c.Name, c.Usage})
	}
	var b strings.Builder
	for _, t := range titles {
		b.WriteString(list(t, rows[t]))
	}
	return b.String()
}

func flagList(title string, flags []cli.Flag) string {
	var rows [][2]string
	for _, f := range visible(flags) {
		names := f.Names()
		left := "    "
		if len(names) > 1 && len(names[1]) == 1 {
			left = "-" + names[1] + ", "
		}
		left += "--" + names[0]
		d, ok := f.(cli.DocGenerationFlag)
		if !ok {
			rows = append(rows, [2]string{left, ""})
			continue
		}
		value, usage := placeholder(d)
		if value != "" {
			left += " " + value
		}
		if def := defaultOf(d); def != "" {
			usage += " (default: " + def + ")"
		}
		if r, ok := f.(cli.RequiredFlag); ok && r.IsRequired() {
			usage += " (required)"
		}
		if vars := d.GetEnvVars(); len(vars) > 0 {
			usage += " [$" + strings.Join(vars, ", $") + "]"
		}
		rows = append(rows, [2]string{left, usage})
	}
	return list(title, rows)
}

// placeholder is the word in backquotes in a flag's usage, and the usage
// without the quotes.
func placeholder(f cli.DocGenerationFlag) (value, usage string) {
	usage = f.GetUsage()
	if before, rest, ok := strings.Cut(usage, "`"); ok {
		if word, after, ok := strings.Cut(rest, "`"); ok {
			value, usage = "<"+word+">", before+word+after
		}
	}
	switch {
	case !f.TakesValue():
		return "", usage
	case value == "":
		return "<value>", usage
	}
	return value, usage
}

func defaultOf(f cli.DocGenerationFlag) string {
	if t := f.GetDefaultText(); t != "" && t != `""` && t != "false" && t != "0" && t != "0s" {
		return t
	}
	return ""
}

func list(title string, rows [][2]string) string {
	if len(rows) == 0 {
		return ""
	}
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s:\n", title)
	for _, r := range rows {
		b.WriteString(strings.TrimRight(fmt.Sprintf("   %-*s  %s", width, r[0], r[1]), " ") + "\n")
	}
	return b.String()
}
