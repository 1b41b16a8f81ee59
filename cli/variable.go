package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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
	return variableJSON{v.Key, shownText(v.Value), v.Description}
}

// shownText is a value as far as the server shows it.
func shownText(m airflow.Masked) string {
	if m.Hidden {
		return m.String()
	}
	return string(m.Value)
}

func variableList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List Airflow's variables; values that sound secret are ***",
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
		Usage:       "Print the value of a variable; one that Airflow hides is exit code 4",
		ArgsUsage:   "<key>",
		Description: "   mlopsctl variable get bucket",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			v, err := p.Airflow.Variables.Get(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			if v.Value.Hidden {
				return &mlops.Error{Kind: mlops.ErrForbidden, Service: "airflow", Message: fmt.Sprintf("Airflow does not show variable %s, because its key sounds secret; tasks can read it", v.Key)}
			}
			return e.print(shownText(v.Value), variableOf(v))
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
   be seen by everyone on this machine.`,
		Flags: []cli.Flag{
			e.dirFlag(), valueFlag("the value"),
			&cli.StringFlag{Name: "description", Usage: "`text` that is shown with it; as it was if not given"},
		},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			key := c.Args().First()
			value, err := e.value(c)
			if err != nil {
				return err
			}
			spec := airflow.VariableSpec{Key: key, Value: strings.TrimSuffix(strings.TrimSuffix(string(value), "\n"), "\r"), Description: c.String("description")}
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
		}),
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

// value reads what --file names.
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
	if err == nil && len(b) > most {
		err = usagef("--file: more than %d bytes", most)
	}
	return b, err
}
