// Command artifacts logs a directory to a new run and prints how long that
// took, and the processor's time. See ../artifacts.sh.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

func main() {
	ctx := context.Background()
	c, err := mlflow.New(mlflow.Options{URL: os.Getenv("MLFLOW_TRACKING_URI")})
	if err != nil {
		log.Fatal(err)
	}
	run, err := c.StartRun(ctx, mlflow.Experiment{ID: "0"}, mlflow.RunOptions{})
	if err != nil {
		log.Fatal(err)
	}
	id, err := run.ID(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := mlops.Collect(c.Artifacts(ctx, id, "")); err != nil {
		log.Fatal(err)
	}
	before, begin := cpu(), time.Now()
	if err := c.UploadDir(ctx, id, os.Args[1], ""); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f %.3f\n", time.Since(begin).Seconds(), (cpu() - before).Seconds())
	if err := run.End(ctx, nil); err != nil {
		log.Fatal(err)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
