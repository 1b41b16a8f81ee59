package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func variableCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "variable",
		Usage:       "List, read and set Airflow's variables",
		Subcommands: []*cli.Command{variableList(e), variableGet(e), variableSet(e), variableRemove(e)},
	}
}

type variableJSON struct {
	Key         string `json:"key"`
	Value       string `json:"value"` // *** if the server hides it
	Description string `json:"description,omitempty"`
}

func variableOf(v airflow.Variable) variableJSON {
	if hides(v) {
		return variableJSON{v.Key, hidden, v.Description}
	}
	return variableJSON{v.Key, string(v.Value.Value), v.Description}
}

// hidden stands for what is not shown.
const hidden = "***"

// hides reports whether the value of a variable is not shown: Airflow hides it, or
// its key sounds secret. Airflow shows numbers under such keys.
func hides(v airflow.Variable) bool {
	return v.Value.Hidden || v.Value.Value != "" && soundsSecret(v.Key)
}

// secretWords are those of Airflow's DEFAULT_SENSITIVE_FIELDS.
var secretWords = []string{"access_token", "api_key", "apikey", "authorization", "keyfile_dict", "passphrase", "passwd", "password", "private_key", "secret", "service_account", "token"}

// soundsSecret judges a key as Airflow does.
func soundsSecret(key string) bool {
	key = strings.ToLower(key)
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(key, word) })
}

func variableList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List Airflow's variables; values whose key sounds secret, or of which Airflow hides a part, are ***",
		Description: "   mlopsctl variable list",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			t := newTable("VARIABLE", "VALUE", "DESCRIPTION")
			t.empty = "no variables"
			docs := []variableJSON{}
			for v, err := range p.Airflow.Variables.All(c.Context) {
				if err != nil {
					return err
				}
				d := variableOf(v)
				t.row(d.Key, d.Value, d.Description)
				docs = append(docs, d)
			}
			return e.table(t, docs)
		}),
	}
}

func variableGet(e *env) *cli.Command {
	return &cli.Command{
		Name:        "get",
		Usage:       "Print the value of a variable; one that is hidden is exit code 4",
		ArgsUsage:   "<key>",
		Description: "   mlopsctl variable get bucket",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			v, err := p.Airflow.Variables.Get(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			if hides(v) {
				return &mlops.Error{Kind: mlops.ErrForbidden, Message: fmt.Sprintf("variable %s is not shown: its key sounds secret, or Airflow hides a part of it; tasks can read it", v.Key)}
			}
			return e.print(string(v.Value.Value), variableOf(v))
		}),
	}
}

func variableSet(e *env) *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "Set a variable to a text from standard input or a file",
		ArgsUsage: "<key>",
		Description: `   echo s3://lora | mlopsctl variable set bucket
   mlopsctl variable set api_key --file key.txt

   The line end at its end is not part of the value. A value as an argument would
   be seen by everyone on this machine. An empty one needs --empty. What comes
   under a key that sounds secret, as api_key does, is not shown again.`,
		Flags: []cli.Flag{
			e.dirFlag(), valueFlag("the value"),
			&cli.BoolFlag{Name: "empty", Usage: "an empty value is meant"},
			&cli.StringFlag{Name: "description", Usage: "`text` that is shown with it; as it was if not given"},
		},
		Action: func(c *cli.Context) error {
			b, err := e.value(c)
			if err != nil {
				return err
			}
			value := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
			if value == "" && !c.Bool("empty") {
				return usagef("variable set: there is no value: give one on standard input or with --file, or --empty")
			}
			return e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
				key := c.Args().First()
				spec := airflow.VariableSpec{Key: key, Value: value, Description: c.String("description")}
				if !c.IsSet("description") {
					before, err := p.Airflow.Variables.Get(c.Context, key)
					if err != nil && !errors.Is(err, mlops.ErrNotFound) {
						return err
					}
					spec.Description = before.Description
				}
				if _, err := p.Airflow.Variables.SetAll(c.Context, []airflow.VariableSpec{spec}); err != nil {
					return err
				}
				return e.print(key, map[string]string{"key": key})
			})(c)
		},
	}
}

func variableRemove(e *env) *cli.Command {
	return &cli.Command{
		Name:        "rm",
		Usage:       "Remove a variable",
		ArgsUsage:   "<key>",
		Description: "   mlopsctl variable rm bucket",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			key := c.Args().First()
			if err := p.Airflow.Variables.Delete(c.Context, key); err != nil {
				return err
			}
			return e.print(key, map[string]string{"key": key})
		}),
	}
}

func valueFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: "-", Usage: "`file` with " + what + ", - for standard input"}
}

// value reads the text that --file names.
func (e *env) value(c *cli.Context) ([]byte, error) {
	in := e.stdin
	if name := c.String("file"); name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	const most = 16 << 20
	b, err := io.ReadAll(io.LimitReader(in, most+1))
	switch {
	case err != nil:
	case len(b) > most:
		err = usagef("--file: more than %d bytes", most)
	case !utf8.Valid(b):
		err = usagef("--file: the text is not UTF-8")
	}
	return b, err
}
