package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/mlflow"
)

func artifactCommand(e *env) *cli.Command {
	return &cli.Command{
		Name:        "artifact",
		Usage:       "Log, list and get artifacts",
		Subcommands: []*cli.Command{artifactLog(e), artifactList(e), artifactGet(e)},
	}
}

type fileJSON struct {
	Path  string `json:"path"`
	Dir   bool   `json:"dir"`
	Bytes int64  `json:"bytes"`
}

func fileOf(f mlflow.FileInfo) fileJSON { return fileJSON{f.Path, f.IsDir, f.SizeBytes} }

func (f fileJSON) size() string {
	if f.Dir {
		return "folder"
	}
	return strconv.FormatInt(f.Bytes, 10)
}

func artifactLog(e *env) *cli.Command {
	return &cli.Command{
		Name:      "log",
		Usage:     "Log files and folders to a run",
		ArgsUsage: "<path>...",
		Description: `   mlopsctl artifact log --run "$run" plot.png report/
   mlopsctl artifact log --run "$run" out --to model

   A folder is logged under its own name; "out/." logs what is in it.`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(), runFlag(), requireSentFlag(),
			&cli.StringFlag{Name: "to", Usage: "`folder` of the run's artifacts; made if need be"},
		},
		Action: func(c *cli.Context) error {
			paths := c.Args().Slice()
			for _, p := range paths { // nothing is logged of a wrong list
				if _, err := os.Stat(p); err != nil {
					return err
				}
			}
			return e.onRun(c, func(ctx context.Context, run *mlflow.Run) error {
				for _, p := range paths {
					if err := logPath(ctx, run, p, c.String("to")); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func logPath(ctx context.Context, run *mlflow.Run, p, to string) error {
	info, err := os.Stat(p)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return run.LogArtifact(ctx, p, to)
	}
	if base := filepath.Base(filepath.Clean(p)); filepath.Base(p) != "." && base != ".." && base != "." && !filepath.IsAbs(base) && !endsInDot(p) {
		to = path.Join(to, base)
	}
	return run.LogDir(ctx, p, to)
}

// endsInDot reports whether a path names the contents of a folder: "out/.".
func endsInDot(p string) bool {
	_, last := filepath.Split(p)
	return last == "." || last == ".."
}

func artifactList(e *env) *cli.Command {
	return &cli.Command{
		Name:      "list",
		Usage:     "List the artifacts of a run or model, with subfolders",
		ArgsUsage: "<run-or-uri> [folder]",
		Description: `   mlopsctl artifact list "$run"
   mlopsctl artifact list models:/sentiment@champion`,
		Flags: []cli.Flag{e.projectFlag(), e.dirFlag()},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			t := newTable("PATH", "BYTES")
			t.empty = "no artifacts"
			var docs []fileJSON
			var walk func(dir string) error
			walk = func(dir string) error {
				for f, err := range p.MLflow.Artifacts(c.Context, c.Args().First(), dir) {
					if err != nil {
						return err
					}
					if f.IsDir {
						if err := walk(f.Path); err != nil {
							return err
						}
						continue
					}
					t.row(f.Path, f.SizeBytes)
					docs = append(docs, fileOf(f))
				}
				return nil
			}
			if err := walk(c.Args().Get(1)); err != nil {
				return err
			}
			return e.table(t, docs)
		}),
	}
}

func artifactGet(e *env) *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "Copy artifacts of a run or model into a folder",
		ArgsUsage: "<run-or-uri> [path]",
		Description: `   mlopsctl artifact get "$run" --into out              all of them
   mlopsctl artifact get "$run" report/a.html           one file, or a folder
   mlopsctl artifact get models:/sentiment/3 --into model
   mlopsctl artifact get "$run" notes.txt --into -      to standard output`,
		Flags: []cli.Flag{
			e.projectFlag(), e.dirFlag(),
			&cli.StringFlag{Name: "into", Value: ".", Usage: "`folder`, made if need be; - for standard output"},
		},
		Action: e.inAnyProject(func(c *cli.Context, p *client.Client) error {
			of, at, into := c.Args().First(), c.Args().Get(1), c.String("into")
			if into == "-" {
				if at == "" {
					return usagef("--into -: which file?")
				}
				in, err := p.MLflow.Download(c.Context, of, at)
				if err != nil {
					return err
				}
				defer in.Close()
				_, err = io.Copy(e.stdout, in)
				return err
			}
			err := p.MLflow.DownloadDir(c.Context, of, at, into)
			if errors.Is(err, mlops.ErrNotFound) && at != "" {
				err = getFile(c.Context, p.MLflow, of, at, into)
			}
			if err != nil {
				return err
			}
			return e.print(into, map[string]string{"into": into})
		}),
	}
}

// getFile copies one file, under its name only when it is complete.
func getFile(ctx context.Context, m *mlflow.Client, of, at, into string) error {
	in, err := m.Download(ctx, of, at)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(into, 0o755); err != nil {
		return err
	}
	part, err := os.CreateTemp(into, path.Base(at)+".part-*")
	if err != nil {
		return err
	}
	_, err = io.Copy(part, in)
	err = errors.Join(err, part.Chmod(0o644), part.Close())
	if err == nil {
		err = os.Rename(part.Name(), filepath.Join(into, path.Base(at)))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, errors.Join(err, os.Remove(part.Name())))
	}
	return nil
}
