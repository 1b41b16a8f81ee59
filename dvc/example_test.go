package dvc_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/mlops-integration/mlops/dvc"
	_ "github.com/mlops-integration/mlops/dvc/remote/local"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := exec.Command("git", "init", "-q", filepath.Join(dir, "project")).Run(); err != nil {
		log.Fatal(err)
	}
	repo, err := dvc.Init(filepath.Join(dir, "project"))
	if err != nil {
		log.Fatal(err)
	}
	if err := repo.AddRemote(ctx, "store", filepath.Join(dir, "store"), dvc.AddRemoteOptions{Default: true}); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repo.Root(), "train.csv"), []byte("hello\n"), 0o644); err != nil {
		log.Fatal(err)
	}
	outs, err := repo.Add(ctx, "train.csv")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(outs[0].DVCFile, outs[0].Hash)
	t, err := repo.Push(ctx, dvc.PushOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(t.Objects, "object to", t.Remote)
	// Output:
	// train.csv.dvc b1946ac92492d2347c6235b4d2611184
	// 1 object to store
}
