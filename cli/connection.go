package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/airflow"
	"github.com/mlops-integration/mlops/client"
)

func connectionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "connection",
		Usage:       "List, read and set Airflow's connections",
		Subcommands: []*cli.Command{connectionList(e), connectionGet(e), connectionSet(e), connectionRemove(e)},
	}
}

// connectionJSON is a connection as get prints and set reads it.
type connectionJSON struct {
	ID          string         `json:"connection_id"`
	Type        string         `json:"conn_type"`
	Description string         `json:"description,omitempty"`
	Host        string         `json:"host,omitempty"`
	Port        int            `json:"port,omitempty"`
	Login       string         `json:"login,omitempty"`
	Password    string         `json:"password,omitempty"` // *** if there is one
	Schema      string         `json:"schema,omitempty"`
	Extra       map[string]any `json:"extra,omitempty"`
}

func connectionOf(c airflow.Connection) connectionJSON {
	extra, _ := shown(map[string]any(c.Extra)).(map[string]any)
	return connectionJSON{c.ID, c.Type, c.Description, c.Host, c.Port, c.Login, c.Password.String(), c.Schema, extra}
}

// shown puts asterisks where the server hides a value, and in the place of what has
// a key that sounds secret: the server shows numbers.
func shown(v any) any {
	switch v := v.(type) {
	case airflow.Masked:
		return v.String()
	case map[string]any:
		out := map[string]any{}
		for key, x := range v {
			out[key] = shown(x)
			if x != nil && x != "" && soundsSecret(key) {
				out[key] = hidden
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = shown(x)
		}
		return out
	}
	return v
}

func connectionList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List Airflow's connections",
		Description: "   mlopsctl connection list",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			t := newTable("CONNECTION", "TYPE", "HOST", "LOGIN", "DESCRIPTION")
			t.empty = "no connections"
			docs := []connectionJSON{}
			for conn, err := range p.Airflow.Connections.All(c.Context) {
				if err != nil {
					return err
				}
				t.row(conn.ID, conn.Type, conn.Host, conn.Login, conn.Description)
				docs = append(docs, connectionOf(conn))
			}
			return e.table(t, docs)
		}),
	}
}

func connectionGet(e *env) *cli.Command {
	return &cli.Command{
		Name:        "get",
		Usage:       "Show a connection; what Airflow hides, or has a key in extra that sounds secret, is ***",
		ArgsUsage:   "<id>",
		Description: "   mlopsctl connection get warehouse --json",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			conn, err := p.Airflow.Connections.Get(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			d := connectionOf(conn)
			t := newTable("KEY", "VALUE")
			t.row("connection_id", d.ID)
			t.row("conn_type", d.Type)
			for _, row := range [][2]string{{"description", d.Description}, {"host", d.Host}, {"login", d.Login}, {"password", d.Password}, {"schema", d.Schema}} {
				if row[1] != "" {
					t.row(row[0], row[1])
				}
			}
			if d.Port != 0 {
				t.row("port", d.Port)
			}
			for _, key := range sortedKeys(d.Extra) {
				t.row("extra."+key, oneJSON(d.Extra[key]))
			}
			return e.table(t, d)
		}),
	}
}

func connectionSet(e *env) *cli.Command {
	return &cli.Command{
		Name:      "set",
		Usage:     "Set a connection from JSON on standard input or in a file",
		ArgsUsage: "<id>",
		Description: `   mlopsctl connection set warehouse --file warehouse.json

   The keys are conn_type, host, port, login, password, schema, extra (an object)
   and description, as connection get --json prints them; conn_type is required.
   What is left out is emptied, but for the password. A text with *** is refused: it
   stands for what is not shown.`,
		Flags: []cli.Flag{e.dirFlag(), valueFlag("the connection as JSON")},
		Action: func(c *cli.Context) error {
			text, err := e.value(c)
			if err != nil {
				return err
			}
			spec, err := readConnection(c.Args().First(), text)
			if err != nil {
				return err
			}
			return e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
				if _, err := p.Airflow.Connections.SetAll(c.Context, []airflow.ConnectionSpec{spec}); err != nil {
					return err
				}
				return e.print(spec.ID, map[string]string{"connection_id": spec.ID})
			})(c)
		},
	}
}

// readConnection reads the one JSON object of a connection.
func readConnection(id string, text []byte) (airflow.ConnectionSpec, error) {
	var d connectionJSON
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	dec.UseNumber()
	if err := dec.Decode(&d); err != nil {
		return airflow.ConnectionSpec{}, usagef("connection set: want a JSON object: %.200v", err)
	}
	if err := dec.Decode(new(json.RawMessage)); !errors.Is(err, io.EOF) {
		return airflow.ConnectionSpec{}, usagef("connection set: something follows the JSON object")
	}
	if d.Type == "" {
		return airflow.ConnectionSpec{}, usagef("connection set: conn_type is missing: the JSON is the whole connection, as connection get --json prints it")
	}
	if d.ID != "" && d.ID != id {
		return airflow.ConnectionSpec{}, usagef("connection set %.100s: the JSON is of connection %.100q", id, d.ID)
	}
	return airflow.ConnectionSpec{ID: id, Type: d.Type, Description: d.Description, Host: d.Host, Port: d.Port, Login: d.Login, Password: mlops.Secret(d.Password), Schema: d.Schema, Extra: d.Extra}, nil
}

func connectionRemove(e *env) *cli.Command {
	return &cli.Command{
		Name:        "rm",
		Usage:       "Remove a connection",
		ArgsUsage:   "<id>",
		Description: "   mlopsctl connection rm warehouse",
		Flags:       []cli.Flag{e.dirFlag()},
		Action: e.inInfrastructure(func(c *cli.Context, p *client.Client) error {
			id := c.Args().First()
			if err := p.Airflow.Connections.Delete(c.Context, id); err != nil {
				return err
			}
			return e.print(id, map[string]string{"connection_id": id})
		}),
	}
}
