package dvc_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

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
	outs, err := repo.Add(ctx, []string{"train.csv"}, dvc.AddOptions{})
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

// scene is a repository of one file, with a remote, for the examples.
func scene() (ctx context.Context, repo *dvc.Repo, done func()) {
	ctx = context.Background()
	dir, err := os.MkdirTemp("", "example-")
	must(err)
	project := filepath.Join(dir, "project")
	must(exec.Command("git", "init", "-q", project).Run())
	repo, err = dvc.Init(project)
	must(err)
	must(repo.AddRemote(ctx, "store", filepath.Join(dir, "store"), dvc.AddRemoteOptions{Default: true}))
	put(repo, "train.csv", "hello\n")
	_, err = repo.Add(ctx, []string{"train.csv"}, dvc.AddOptions{})
	must(err)
	return ctx, repo, func() { _ = os.RemoveAll(dir) }
}

func put(repo *dvc.Repo, name, text string) {
	must(os.WriteFile(filepath.Join(repo.Root(), name), []byte(text), 0o644))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func commit(repo *dvc.Repo) {
	for _, args := range [][]string{{"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", "data"}} {
		must(exec.Command("git", append([]string{"-C", repo.Root()}, args...)...).Run())
	}
}

func ExampleRepo_Pull() {
	ctx, repo, done := scene()
	defer done()
	_, err := repo.Push(ctx, dvc.PushOptions{})
	must(err)
	must(os.RemoveAll(filepath.Join(repo.Root(), ".dvc", "cache")))
	must(os.Remove(filepath.Join(repo.Root(), "train.csv")))
	t, err := repo.Pull(ctx, dvc.PullOptions{})
	must(err)
	fmt.Println(t.Objects, "fetched, checked out:", t.Added)
	// Output: 1 fetched, checked out: [train.csv]
}

func ExampleRepo_Status() {
	ctx, repo, done := scene()
	defer done()
	put(repo, "train.csv", "edited\n")
	s, err := repo.Status(ctx, dvc.StatusOptions{})
	must(err)
	for _, c := range s.Changes {
		fmt.Println(c.Path, c.State)
	}
	// Output: train.csv modified
}

func ExampleRepo_Diff() {
	ctx, repo, done := scene()
	defer done()
	commit(repo)
	put(repo, "train.csv", "edited\n")
	put(repo, "test.csv", "new\n")
	_, err := repo.Add(ctx, []string{"train.csv", "test.csv"}, dvc.AddOptions{})
	must(err)
	d, err := repo.Diff(ctx, dvc.DiffOptions{})
	must(err)
	fmt.Println("added", d.Added[0].Path, "modified", d.Modified[0].Path)
	// Output: added test.csv modified train.csv
}

func ExampleRepo_DataStatus() {
	ctx, repo, done := scene()
	defer done()
	commit(repo)
	put(repo, "train.csv", "edited\n")
	s, err := repo.DataStatus(ctx, dvc.DataStatusOptions{})
	must(err)
	fmt.Println("uncommitted:", s.Uncommitted.Modified)
	// Output: uncommitted: [train.csv]
}

func ExampleRepo_Commit() {
	ctx, repo, done := scene()
	defer done()
	put(repo, "train.csv", "world\n")
	outs, err := repo.Commit(ctx, dvc.CommitOptions{Force: true})
	must(err)
	fmt.Println(outs[0].Path, outs[0].Hash)
	// Output: train.csv 591785b794601e212b260e25925636fd
}

func ExampleRepo_GC() {
	ctx, repo, done := scene()
	defer done()
	put(repo, "train.csv", "world\n")
	_, err := repo.Add(ctx, []string{"train.csv"}, dvc.AddOptions{})
	must(err)
	g, err := repo.GC(ctx, dvc.GCOptions{Workspace: true})
	must(err)
	fmt.Println("could go:", g.Cache[0].Hash)
	_, err = repo.GC(ctx, dvc.GCOptions{Workspace: true, Yes: true})
	must(err)
	back, err := repo.RestoreTrash(ctx)
	must(err)
	fmt.Println("restored:", back.Objects)
	// Output:
	// could go: b1946ac92492d2347c6235b4d2611184
	// restored: 1
}

func ExampleRepo_Verify() {
	ctx, repo, done := scene()
	defer done()
	v, err := repo.Verify(ctx, dvc.VerifyOptions{})
	must(err)
	fmt.Println(v.Objects, "read, all right:", v.OK())
	// Output: 1 read, all right: true
}

func ExampleRepo_Doctor() {
	ctx, repo, done := scene()
	defer done()
	all, err := repo.Doctor(ctx, "store")
	must(err)
	for _, f := range all {
		if !f.OK {
			fmt.Println(f.Text, "→", f.Next)
		}
	}
	fmt.Println("lock:", all[slices.IndexFunc(all, func(f dvc.Finding) bool { return f.Check == "lock" })].Text)
	// Output: lock: free
}

func ExampleRepo_Set() {
	ctx, repo, done := scene()
	defer done()
	must(repo.Set(ctx, "cache.type", "hardlink,copy", ""))
	s, err := repo.Setting("cache.type", "")
	must(err)
	fmt.Println(s.Name, s.Value, s.Level)
	fmt.Println(repo.Set(ctx, "remote.store.password", "secret", "") != nil, "not into the committed file")
	// Output:
	// cache.type hardlink,copy repo
	// true not into the committed file
}

func ExampleSource_List() {
	ctx, repo, done := scene()
	defer done()
	commit(repo)
	src, err := dvc.OpenSource(ctx, repo.Root(), dvc.SourceOptions{})
	must(err)
	defer src.Close()
	all, err := src.List(ctx, dvc.ListOptions{DVCOnly: true})
	must(err)
	fmt.Println(all[0].Path, *all[0].Hash)
	// Output: train.csv b1946ac92492d2347c6235b4d2611184
}
