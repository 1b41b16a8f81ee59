// Package dvc reads and writes DVC repositories without Python. What it writes
// (.dvc files, .gitignore entries, directory listings, cache, remotes, config)
// has the bytes that dvc 3.67 writes, so that both can work on one repository.
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//
//		"github.com/mlops-integration/mlops/dvc"
//		_ "github.com/mlops-integration/mlops/dvc/remote/local"
//	)
//
//	func main() {
//		ctx := context.Background()
//		repo, err := dvc.Open(".")
//		if err != nil {
//			log.Fatal(err)
//		}
//		outs, err := repo.Add(ctx, []string{"data/train.csv"}, dvc.AddOptions{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Println(outs[0].DVCFile, outs[0].Hash)
//		if _, err := repo.Push(ctx, dvc.PushOptions{}); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// # Paths
//
// One rule: a relative path, taken or returned, is relative to the directory
// that was given to [Open]. Open(".") makes paths relative to the working
// directory, as the dvc command does; Open(projectDir) makes them relative to
// the project, wherever the program runs. Returned paths use forward slashes.
//
// # Reading without a checkout
//
//	files, err := repo.FS(ctx, "v1.2")                   // an fs.FS of what was tracked then
//	f, err := repo.Open(ctx, "data/train.csv", "v1.2")   // one file of it
//	src, err := dvc.OpenSource(ctx, "https://example.com/team/data.git", dvc.SourceOptions{Rev: "main"})
//
// # Garbage
//
// [Repo.GC] only tells what could go unless Yes is set. It keeps what the
// workspace and the revisions in its scope need, refuses when it cannot know
// that, and moves the rest into a trash in the cache's folder: [Repo.RestoreTrash]
// puts it back, and what has been there for a week is deleted by the next GC.
// [Repo.Verify] reads what everybody else trusts.
//
// # Safety
//
// Where dvc trusts, this package checks. Fetched bytes are hashed before they
// enter the cache, and again when they are copied to the workspace. A directory
// listing with a path that leaves its directory is refused before anything is
// written. A push that lacks an object is an error, and a directory's listing
// is uploaded after its files. Workspace files are replaced by rename, and a
// file whose content is not in the cache is never replaced or deleted without
// Force. An object gets mode 0444, which makes dvc trust it, only when its bytes
// are complete.
//
// # Known hashes
//
// A file is hashed once: its hash is known until its inode, size, mtime or ctime
// changes. That is kept in .dvc/tmp/mlops, and shared with dvc's own database of
// hashes, so that neither tool reads what the other one has read. A file that
// changed less than two seconds before it was hashed is hashed again next time,
// because its times may not tell the next change.
//
// # Outputs
//
// Outputs of .dvc files and of the stages in dvc.yaml, with the hashes of
// dvc.lock, are handled alike; stages are not run. Repositories of dvc 2.x, and
// those that hold outputs of both, are read, checked out, pushed and pulled.
// Outputs that cannot be handled (hashes other than md5, versions kept in the
// cloud) are an error that matches [mlops.ErrUnsupported] for calls that would
// have to leave them out; name others as targets to work beside them.
//
// The format was read in dvc 3.67.1 and dvc-data 3.17 and measured against them.
package dvc
