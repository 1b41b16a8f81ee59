package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

// invocation is a command line, understood.
type invocation struct {
	path []*cli.Command // the commands named, outermost first
	argv []string       // for urfave/cli: flags before operands, at the command they belong to
	help bool
}

// name is the command as the user calls it: "mlopsctl run start".
func (in invocation) name() string {
	words := []string{program}
	for _, c := range in.path {
		words = append(words, c.Name)
	}
	return strings.Join(words, " ")
}

// level is one command on the way with the flags given to it.
type level struct {
	name  string
	flags []cli.Flag
	given []string // "--name=value"
	set   []cli.Flag
}

// reader walks over the arguments.
type reader struct {
	env      *env
	in       invocation
	levels   []*level
	operands []string
	wrong    error // the first error; help asked for later still wins
}

// read understands args. Flags may stand anywhere after the command that has
// them, global ones anywhere; "--" ends them. A negative number is an operand.
func (e *env) read(args []string) (invocation, error) {
	r := &reader{env: e, levels: []*level{{name: program, flags: e.app.Flags}}}
	for len(args) > 0 {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--":
			r.operands = append(r.operands, args...)
			args = nil
		case r.isFlag(word):
			args = r.flag(word, args)
		default:
			if err := r.word(word); err != nil {
				return r.in, err
			}
		}
	}
	if r.in.help || len(r.in.path) == 0 && len(r.operands) == 0 && r.wrong == nil {
		r.in.help = true
		return r.in, nil
	}
	if r.wrong == nil {
		r.wrong = r.complete()
	}
	for _, l := range r.levels {
		r.in.argv = append(append(r.in.argv, l.name), l.given...)
	}
	r.in.argv = append(append(r.in.argv, "--"), r.operands...)
	return r.in, r.wrong
}

func (r *reader) fail(err error) {
	if r.wrong == nil {
		r.wrong = err
	}
}

// command is the innermost command named so far; nil before the first.
func (r *reader) command() *cli.Command {
	if len(r.in.path) == 0 {
		return nil
	}
	return r.in.path[len(r.in.path)-1]
}

// subcommands are the commands that may be named next.
func (r *reader) subcommands() []*cli.Command {
	if c := r.command(); c != nil {
		return c.Subcommands
	}
	return r.env.app.Commands
}

// word takes a command's name or an operand.
func (r *reader) word(word string) error {
	subs := r.subcommands()
	if len(subs) == 0 || len(r.operands) > 0 {
		r.operands = append(r.operands, word)
		return nil
	}
	if i := slices.IndexFunc(subs, func(c *cli.Command) bool { return c.HasName(word) }); i >= 0 {
		r.in.path = append(r.in.path, subs[i])
		r.levels = append(r.levels, &level{name: subs[i].Name, flags: subs[i].Flags})
		return nil
	}
	if word == "help" {
		r.in.help = true
		return nil
	}
	if c := r.command(); c != nil && c.Action != nil && c.ArgsUsage != "" {
		r.operands = append(r.operands, word)
		return nil
	}
	var names []string
	for _, c := range subs {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	err := usagef("unknown command %q", word)
	if near := nearest(word, names); near != "" {
		return withHint(err, "did you mean: "+r.in.name()+" "+near)
	}
	return err
}

// isFlag reports whether word is a flag rather than an operand.
func (r *reader) isFlag(word string) bool {
	if len(word) < 2 || word[0] != '-' {
		return false
	}
	if _, err := strconv.ParseFloat(word, 64); err == nil {
		_, f := r.find(word[1:])
		return f != nil
	}
	return true
}

// find looks a flag up by name, the innermost command first.
func (r *reader) find(name string) (*level, cli.Flag) {
	for _, l := range slices.Backward(r.levels) {
		for _, f := range l.flags {
			if slices.Contains(f.Names(), name) {
				return l, f
			}
		}
	}
	return nil, nil
}

// flag takes one flag, and its value from rest if that is where it stands.
func (r *reader) flag(word string, rest []string) []string {
	name, value, attached := strings.Cut(strings.TrimLeft(word, "-"), "=")
	short := !strings.HasPrefix(word, "--")
	switch {
	case name == "help" || name == "h" && short:
		if _, f := r.find(name); f == nil {
			r.in.help = true
			return rest
		}
	case name == "version" && len(r.in.path) == 0:
		_ = r.word(name)
		return rest
	}
	l, f := r.find(name)
	if f == nil && short && len(name) > 1 {
		if _, first := r.find(name[:1]); first != nil { // -fq, -pdemo
			if takesValue(first) {
				return r.flag("-"+name[:1]+"="+word[2:], rest)
			}
			return r.flag("-"+word[2:], r.flag("-"+name[:1], rest))
		}
	}
	if f == nil {
		shown, _, _ := strings.Cut(word, "=")
		err := usagef("unknown flag %s", shown)
		if near := nearest(name, r.flagNames()); near != "" {
			err = withHint(err, "did you mean --"+near+"? See "+r.in.name()+" --help")
		}
		r.fail(err)
		return rest
	}
	switch opt, optional := f.(*optionalFlag); {
	case optional && !attached:
		value, attached = opt.bare, true
	case takesValue(f) && !attached:
		if len(rest) == 0 || r.known(rest[0]) {
			r.fail(usagef("flag %s needs a value", word))
			return rest
		}
		value, rest, attached = rest[0], rest[1:], true
	case !takesValue(f) && attached:
		if _, err := strconv.ParseBool(value); err != nil {
			r.fail(usagef("flag --%s takes no value", name))
			return rest
		}
	}
	given := "--" + f.Names()[0]
	if attached {
		given += "=" + value
	}
	l.given, l.set = append(l.given, given), append(l.set, f)
	if _, ok := f.(*listFlag); ok {
		for len(rest) > 0 && !r.isFlag(rest[0]) {
			l.given, rest = append(l.given, "--"+f.Names()[0]+"="+rest[0]), rest[1:]
		}
	}
	return rest
}

// optionalFlag is a flag whose value may be left out, as argparse's nargs="?":
// --untracked-files is --untracked-files=all. A value is given with "=" only.
type optionalFlag struct {
	*cli.StringFlag
	bare string // its value when none is given
}

// listFlag is a flag that takes all words up to the next flag, as argparse's
// nargs="*": --targets a b c.
type listFlag struct{ *cli.StringSliceFlag }

// known reports whether word is a long flag that exists here, or "--".
func (r *reader) known(word string) bool {
	name, long := strings.CutPrefix(word, "--")
	name, _, _ = strings.Cut(name, "=")
	_, f := r.find(name)
	return long && (name == "" || name == "help" || f != nil)
}

func (r *reader) flagNames() []string {
	var names []string
	for _, l := range slices.Backward(r.levels) {
		for _, f := range visible(l.flags) {
			names = append(names, f.Names()[0])
		}
	}
	return append(names, "help")
}

// complete finds what is missing or too much.
func (r *reader) complete() error {
	c := r.command()
	if c == nil {
		return usagef("unknown command %q", r.operands[0])
	}
	words := strings.TrimPrefix(r.in.name(), program+" ")
	if c.Action == nil {
		if len(r.operands) > 0 {
			return usagef("unknown command %q", r.operands[0])
		}
		var names []string
		for _, s := range c.Subcommands {
			if !s.Hidden {
				names = append(names, s.Name)
			}
		}
		return usagef("%s: which command? %s", words, strings.Join(names, ", "))
	}
	for _, l := range r.levels {
		for _, f := range l.flags {
			if q, ok := f.(cli.RequiredFlag); ok && q.IsRequired() && !slices.Contains(l.set, f) && !r.inEnvironment(f) {
				return usagef("%s: flag --%s is missing", words, f.Names()[0])
			}
		}
	}
	least, most, names := operandsOf(c)
	switch n := len(r.operands); {
	case n < least:
		return usagef("%s: %s is missing", words, names[n])
	case most >= 0 && n > most:
		return usagef("%s: unexpected operand %q", words, r.operands[most])
	}
	return nil
}

func (r *reader) inEnvironment(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && slices.ContainsFunc(d.GetEnvVars(), func(v string) bool { return r.env.getenv(v) != "" })
}

// operandsOf reads how many operands a command takes from its ArgsUsage:
// "<model> <version>" wants two, "[service...]" any number, "<path>..." one or
// more, the empty text none. most is -1 if there is no limit.
func operandsOf(c *cli.Command) (least, most int, names []string) {
	for _, word := range strings.Fields(c.ArgsUsage) {
		names = append(names, strings.ReplaceAll(word, "...", ""))
		if strings.HasPrefix(word, "<") {
			least++
		}
		if strings.Contains(word, "...") {
			most = -1
		} else if most >= 0 {
			most++
		}
	}
	return least, most, names
}

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return !ok || d.TakesValue()
}

func visible(flags []cli.Flag) []cli.Flag {
	var out []cli.Flag
	for _, f := range flags {
		if v, ok := f.(cli.VisibleFlag); !ok || v.IsVisible() {
			out = append(out, f)
		}
	}
	return out
}

// nearest is the name that word was probably meant to be, or empty.
func nearest(word string, names []string) string {
	best, least := "", min(3, 1+len(word)/3)
	for _, n := range names {
		if d := distance(word, n); d < least {
			best, least = n, d
		}
	}
	return best
}

// distance is how many letters to insert, remove, replace or swap with their
// neighbour turn a into b.
func distance(a, b string) int {
	var old, last []int
	for j := range len(b) + 1 {
		last = append(last, j)
	}
	for i := range len(a) {
		row := []int{i + 1}
		for j := range len(b) {
			d := last[j]
			if a[i] != b[j] {
				d++
			}
			d = min(d, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, old[j-1]+1)
			}
			row = append(row, d)
		}
		old, last = last, row
	}
	return last[len(b)]
}
