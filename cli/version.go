package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// servers lists the versions that mlops is tested against and those it speaks
// to as well.
var servers = []serverJSON{
	{"MLflow", "3.17", "2.8+"},
	{"Airflow", "3.3", "2.7-2.11"},
	{"Ray Serve", "2.60", "2.8+"},
	{"BentoML", "1.4", "1.1+"},
	{"Evidently", "0.7", "0.4 snapshots"},
	{"DVC", "3.67", "2.x repositories"},
}

type serverJSON struct {
	Name   string `json:"name"`
	Tested string `json:"tested"`
	Also   string `json:"also"`
}

type versionJSON struct {
	Version  string       `json:"version"` // of the module; "(devel)" when built from a working copy
	Revision string       `json:"revision,omitempty"`
	Time     string       `json:"time,omitempty"`     // of the revision
	Modified bool         `json:"modified,omitempty"` // the working copy differed from it
	Go       string       `json:"go"`
	Platform string       `json:"platform"` // "linux/amd64"
	Servers  []serverJSON `json:"servers"`
}

func versionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "Print the version and the server versions it speaks",
		Description: `   mlopsctl version
   mlopsctl version --json | jq -r .version`,
		Action: func(*cli.Context) error {
			v := build()
			return e.print(v.text(), v)
		},
	}
}

// build says how this program was built.
func build() versionJSON {
	v := versionJSON{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Servers: servers}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.time":
			v.Time = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (v versionJSON) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", program, v.Version)
	if v.Revision != "" {
		fmt.Fprintf(&b, " (%.12s", v.Revision)
		if v.Modified {
			b.WriteString(", modified")
		}
		b.WriteString(")")
	}
	fmt.Fprintf(&b, " %s %s\n\n", v.Go, v.Platform)
	fmt.Fprintf(&b, "%-10s %-8s %s\n", "SERVER", "TESTED", "ALSO")
	for _, s := range v.Servers {
		fmt.Fprintf(&b, "%-10s %-8s %s\n", s.Name, s.Tested, s.Also)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
