package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/rayserve"
)

// mostRows is how large a request may be that a model answers at once.
const mostRows = 64 << 20

func predictCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:      "predict",
		Usage:     "Ask a deployment for predictions",
		ArgsUsage: "<deployment> [file]",
		Description: `   mlopsctl predict sentiment rows.csv -p lora-finetuning
   echo '[{"length": 5.1}]' | mlopsctl predict sentiment -p lora-finetuning

   The file, or stdin, is CSV with a header, a JSON list of rows (objects by
   column, or values), or a whole request of MLflow's scoring protocol. Prints
   one prediction a line.

   Without mlopsctl, at the URL that list-deployments shows:

   curl "$url/invocations" -H 'Content-Type: text/csv' --data-binary @rows.csv`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inProject(func(c *cli.Context, p *client.Project) error {
			in, err := e.rows(c.Args().Get(1))
			if err != nil {
				return err
			}
			out, err := p.Predict(c.Context, c.Args().First(), in)
			if err != nil {
				return err
			}
			return e.print(predictionLines(out.Predictions), out)
		}),
	}
}

// rows reads a request from a file, or from stdin.
func (e *env) rows(file string) (rayserve.Input, error) {
	from := e.stdin
	if f, ok := from.(*os.File); ok && file == "" && term.IsTerminal(int(f.Fd())) {
		return nil, usagef("which rows? Name a file, or write them to stdin")
	}
	if file != "" && file != "-" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &mlops.Error{Kind: mlops.ErrNotFound, Message: file + " does not exist", Cause: err}
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, mostRows+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > mostRows:
		return nil, usagef("the rows take more than %d MB; send them in parts", mostRows>>20)
	}
	return requestOf(b, strings.EqualFold(filepath.Ext(file), ".csv"))
}

// requestOf finds out in which form rows were given.
func requestOf(b []byte, csv bool) (rayserve.Input, error) {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0:
		return nil, usagef("there are no rows; give CSV with a header, or JSON")
	case csv || b[0] != '{' && b[0] != '[':
		return rayserve.Body{ContentType: "text/csv", Data: append(b, '\n')}, nil
	case b[0] == '{':
		if !json.Valid(b) {
			return nil, usagef("the rows are not JSON: %v", json.Unmarshal(b, new(any)))
		}
		return rayserve.Body{Data: b}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, usagef("the rows are not JSON: %v", err)
	}
	key := "inputs"
	if len(list) > 0 && bytes.HasPrefix(list[0], []byte("{")) {
		key = "dataframe_records"
	}
	return rayserve.Body{Data: fmt.Appendf(nil, "{%q: %s}", key, b)}, nil
}

// predictionLines is one prediction a line; what is no list is one.
func predictionLines(raw json.RawMessage) string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	lines := make([]string, 0, len(list))
	for _, v := range list {
		var b bytes.Buffer
		if json.Compact(&b, v) != nil {
			b.Write(v)
		}
		lines = append(lines, b.String())
	}
	return strings.Join(lines, "\n")
}
