package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func modelCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "model",
		Usage:       "Log, register, name, tag, compare, copy and delete models",
		Subcommands: []*cli.Command{modelLog(e), modelRegister(e), modelList(e), modelAlias(e), modelTag(e), modelCopy(e), modelCompare(e), modelDelete(e)},
	}
}

type modelJSON struct {
	Name    string               `json:"name"`
	Version string               `json:"version"`
	ModelID string               `json:"model_id,omitempty"`
	RunID   string               `json:"run_id"`
	Status  mlflow.VersionStatus `json:"status"`
	Aliases []string             `json:"aliases,omitempty"`
}

func modelOf(v mlflow.ModelVersion) modelJSON {
	return modelJSON{v.Name, v.Version, v.ModelID, v.RunID, v.Status, v.Aliases}
}

func modelAlias(e *env) *cli.Command {
	return &cli.Command{
		Name:      "alias",
		Usage:     "Point an alias at a version",
		ArgsUsage: "<model> <alias> <version>",
		Description: `   mlopsctl model alias sentiment champion 3
   mlopsctl model alias sentiment champion 3 --if-at 2
   mlopsctl model alias sentiment champion 3 --newer

   An alias that is not at the version of --if-at, or is at a newer one with
   --newer, stays where it is: exit code 5. MLflow cannot look and move at once:
   a move of another in between is lost.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "if-at", Usage: "only if it is at this `version`, or at none"},
			&cli.BoolFlag{Name: "newer", Usage: "only to a newer version"},
			&cli.BoolFlag{Name: "dry-run", Usage: "check that it can be moved, and leave it"},
		},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			name, alias, version := c.Args().Get(0), c.Args().Get(1), c.Args().Get(2)
			o := client.PromoteOptions{IfAt: c.String("if-at"), Newer: c.Bool("newer"), DryRun: c.Bool("dry-run")}
			if err := p.Promote(c.Context, name, alias, version, o); err != nil {
				return err
			}
			v, err := p.MLflow.Models.Version(c.Context, name, version)
			if err != nil {
				return err
			}
			return e.print(v.Version, modelOf(v))
		}),
	}
}

func modelList(e *env) *cli.Command {
	return &cli.Command{
		Name:        "list",
		Usage:       "List the versions of registered models, with --project those of its runs",
		ArgsUsage:   "[model]",
		Description: "   mlopsctl model list\n   mlopsctl model list sentiment\n   mlopsctl model list -p lora-finetuning",
		Flags:       []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			q := mlflow.ModelQuery{}
			if name := c.Args().First(); name != "" {
				q.Filter = "name = '" + strings.ReplaceAll(name, "'", "''") + "'"
			}
			all, err := mlops.Collect(p.MLflow.Models.Versions(c.Context, q))
			if err != nil {
				return err
			}
			aliases, err := aliasesOf(c.Context, p.MLflow, q)
			if err != nil {
				return err
			}
			if name := c.Args().First(); name != "" && len(all) == 0 {
				if _, err := p.MLflow.Models.Get(c.Context, name); err != nil {
					return err
				}
			}
			if own, err := named(c, p); err != nil {
				return err
			} else if own != nil {
				if all, err = own.OwnVersions(c.Context, all); err != nil {
					return err
				}
			}
			t := newTable("MODEL", "VERSION", "STATUS", "ALIASES", "RUN")
			t.empty = "no models yet; mlopsctl model log registers one"
			var docs []modelJSON
			for _, v := range all {
				v.Aliases = aliases[v.Name+"/"+v.Version]
				t.row(v.Name, v.Version, v.Status, joined(v.Aliases), v.RunID)
				docs = append(docs, modelOf(v))
			}
			return e.table(t, docs)
		}),
	}
}

// aliasesOf finds the aliases of versions, by "name/version": MLflow leaves them
// out when it lists versions.
func aliasesOf(ctx context.Context, m *mlflow.Client, q mlflow.ModelQuery) (map[string][]string, error) {
	out := map[string][]string{}
	for r, err := range m.Models.All(ctx, q) {
		if err != nil {
			return nil, err
		}
		for _, alias := range sortedKeys(r.Aliases) {
			key := r.Name + "/" + r.Aliases[alias]
			out[key] = append(out[key], alias)
		}
	}
	return out, nil
}

func modelLog(e *env) *cli.Command {
	return &cli.Command{
		Name:      "log",
		Usage:     "Package what a training script wrote, log it to a run and register it",
		ArgsUsage: "<folder>",
		Description: `   mlopsctl model log out/model --run "$run" --name sentiment --sklearn model.skops \
       --venv .venv --columns data/train.csv --target label
   mlopsctl model log out/model --run "$run" --name echo --pyfunc model.py --venv .venv

   Prints the number of the new version. A folder with an MLmodel file of its own
   is taken as it is.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(), runFlag(),
			&cli.StringFlag{Name: "name", Usage: "`name` to register it under; only logged if empty"},
			&cli.StringFlag{Name: "sklearn", Usage: "`file` in the folder that skops or pickle wrote"},
			&cli.StringSliceFlag{Name: "trust", Usage: "`type` that skops may load; may be repeated"},
			&cli.StringFlag{Name: "pyfunc", Usage: "Python `file` in the folder that defines the model"},
			&cli.StringFlag{Name: "venv", Usage: "Python environment that made it: its `folder` or interpreter; tells the versions"},
			&cli.StringFlag{Name: "columns", Usage: "CSV `file` whose header names the inputs, all of them numbers"},
			&cli.StringFlag{Name: "target", Usage: "`column` of that file which is no input"},
			&cli.StringSliceFlag{Name: "alias", Usage: "`alias` to point at the new version; may be repeated"},
		},
		Action: func(c *cli.Context) error {
			if err := checkModelFlags(c); err != nil {
				return err
			}
			m := mlflow.ModelSpec{Name: c.String("name"), Aliases: c.StringSlice("alias"), Venv: c.String("venv")}
			if f := c.String("sklearn"); f != "" {
				m.Flavors = append(m.Flavors, mlflow.SKLearn(f, c.StringSlice("trust")...))
			}
			if f := c.String("pyfunc"); f != "" {
				m.Flavors = append(m.Flavors, mlflow.PyFunc{Code: f})
			}
			if f := c.String("columns"); f != "" {
				columns, err := csvColumns(f, c.String("target"))
				if err != nil {
					return err
				}
				m.Signature = &mlflow.Signature{Inputs: mlflow.Columns("double", columns...)}
			}
			return e.logModel(c, c.Args().First(), m)
		},
	}
}

// checkModelFlags finds, in the words of the command line, what the library
// would say of its own fields.
func checkModelFlags(c *cli.Context) error {
	dir := c.Args().First()
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return usagef("%s is a file; name the folder that it is in", dir)
	}
	_, err = os.Stat(filepath.Join(dir, "MLmodel"))
	packaged, code := err == nil, false
	for _, flag := range []string{"sklearn", "pyfunc"} {
		name := c.String(flag)
		if name == "" {
			continue
		}
		code = true
		if packaged {
			return usagef("--%s: %s has an MLmodel file, which says what the model is; take one of them away", flag, dir)
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return notFound("--%s: there is no file %q in %s", flag, name, dir)
		}
	}
	switch {
	case !packaged && !code:
		return usagef("%s has no MLmodel file: say by --sklearn or --pyfunc what the model is", dir)
	case code && c.String("venv") == "" && !exists(filepath.Join(dir, "requirements.txt")):
		return usagef("the versions that %s needs are not known: give --venv, the environment that made it, or put a requirements.txt into it", dir)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// csvColumns are the names in the header of a CSV file, without one of them.
func csvColumns(file, without string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	header, err := csv.NewReader(f).Read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if without != "" && !slices.Contains(header, without) {
		return nil, usagef("--target: %s has no column %q", file, without)
	}
	return slices.DeleteFunc(header, func(c string) bool { return c == without }), nil
}

// logModel packages dir as m and registers it.
func (e *env) logModel(c *cli.Context, dir string, m mlflow.ModelSpec) error {
	var v mlflow.ModelVersion
	err := e.onRun(c, func(ctx context.Context, run *mlflow.Run) (err error) {
		v, err = run.LogModel(ctx, dir, m)
		return err
	})
	if err != nil {
		return err
	}
	if m.Name == "" {
		return e.print(v.ModelID, modelOf(v))
	}
	return e.print(v.Version, modelOf(v))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
