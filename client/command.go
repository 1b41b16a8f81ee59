package client

import (
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The tags of a run that tracks a command.
const (
	tagCommand = "mlops.command"
	tagCwd     = "mlops.cwd"
)

// maxCommand is how many bytes of a command are kept.
const maxCommand = 4 << 10

// CommandTags describes a command that runs as a run, in the current folder:
// mlops.command is the command as a shell would take it, without what looks
// like a secret, mlops.cwd the folder, and mlflow.source.name the script or
// program, as Python's MLflow names its own.
func CommandTags(argv []string) map[string]string {
	if len(argv) == 0 {
		return nil
	}
	tags := map[string]string{tagCommand: commandLine(argv), "mlflow.source.name": argv[0]}
	if dir, err := os.Getwd(); err == nil {
		tags[tagCwd] = dir
	}
	for _, arg := range argv[1:] {
		if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() && !secretArgument(arg) {
			tags["mlflow.source.name"] = arg
			break
		}
	}
	return tags
}

const redactedArgument = "[redacted]"

// tellingFlag is a flag whose value is a secret.
var tellingFlag = regexp.MustCompile(`(?i)^--?[a-z0-9_.-]*(?:` + names + `|\bauth\b)[a-z0-9_.-]*$`)

// commandLine quotes argv for a shell, and replaces what looks like a secret:
// the value of a telling flag or variable, and each argument with a secret in it.
func commandLine(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		name, value, assigned := strings.Cut(arg, "=")
		switch {
		case i > 0 && tellingFlag.MatchString(argv[i-1]) && !strings.HasPrefix(arg, "--"):
			words[i] = redactedValue(arg)
		case assigned && !strings.ContainsAny(name, " \n") && tellingFlag.MatchString("-"+strings.TrimLeft(name, "-")):
			words[i] = shellQuoted(name) + "=" + redactedValue(value)
		case secretArgument(arg):
			words[i] = redactedArgument
		default:
			words[i] = shellQuoted(arg)
		}
	}
	line := strings.ToValidUTF8(strings.Join(words, " "), "\uFFFD")
	if len(line) <= maxCommand {
		return line
	}
	cut := maxCommand
	for !utf8.RuneStart(line[cut]) {
		cut--
	}
	return line[:cut] + "…"
}

// redactedValue is what is shown of the value of a telling name: a small
// number, a variable or nothing as it is.
func redactedValue(v string) string {
	if nothing.MatchString(v) {
		return shellQuoted(v)
	}
	return redactedArgument
}

// secretArgument reports whether an argument has a secret in one of its lines.
func secretArgument(arg string) bool {
	file := diffFile{}
	for line := range strings.Lines(arg) {
		if file.secret(strings.TrimRight(line, "\r\n")) {
			return true
		}
	}
	return false
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

func shellQuoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
