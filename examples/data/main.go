// Data versions a folder from a Go program, without Python: it tracks and
// pushes it, tells what changed since the last commit, and reads a file as it
// was then, without a checkout.
//
//	cd some/git/repository && mlopsctl dvc init && mlopsctl dvc remote add -d store /mnt/store
//	go run github.com/mlops-integration/mlops/examples/data data
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/dvc"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: data <path>")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := version(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func version(ctx context.Context, path string) error {
	data, err := client.DataIn(".") // client links the remotes; a program of its own may use dvc.Open
	if err != nil {
		return err
	}
	repo, err := data.Repo(ctx)
	if err != nil {
		return err
	}
	outs, err := repo.Add(ctx, []string{path}, dvc.AddOptions{})
	if err != nil {
		return err
	}
	for _, o := range outs {
		fmt.Println(o.Path, o.Hash, o.Files, "files")
	}
	sent, err := repo.Push(ctx, dvc.PushOptions{Transfers: dvc.Transfers{Progress: func(p dvc.Progress) {
		fmt.Fprintf(os.Stderr, "\r%d of %d", p.Done, p.Total)
	}}})
	if err != nil {
		return err
	}
	fmt.Println(sent.Objects, "objects to", sent.Remote)

	diff, err := repo.Diff(ctx, dvc.DiffOptions{})
	if err != nil {
		return err
	}
	for _, e := range diff.Modified {
		fmt.Println("changed since the last commit:", e.Path)
	}
	then, err := repo.FS(ctx, "HEAD")
	if errors.Is(err, mlops.ErrNotFound) {
		return nil // no commit yet
	}
	if err != nil {
		return err
	}
	return fs.WalkDir(then, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			fmt.Println("in the last commit:", name)
		}
		return err
	})
}
