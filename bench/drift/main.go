// Command drift compares two files in Go and with Evidently's preset, in turns,
// each in a process of its own, and prints the processor's time and the memory of
// both and their ratio. See README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/mlops-integration/mlops/drift"
	"github.com/mlops-integration/mlops/drift/table"
	_ "github.com/mlops-integration/mlops/drift/table/parquet"
)

// made is the Python program that writes two files of 20 columns.
const made = `
import sys, numpy as np, pandas as pd
rows, folder = int(sys.argv[1]), sys.argv[2]
for name, shift in (("reference", 0.0), ("current", 0.1)):
    r = np.random.default_rng(len(name))
    frame = {f"n{i}": r.normal(shift * (i % 3), 1, rows) for i in range(14)}
    frame |= {f"i{i}": r.integers(0, 1000, rows) for i in range(2)}
    frame |= {f"c{i}": r.choice(["a", "b", "c", "d"], rows) for i in range(4)}
    pd.DataFrame(frame).to_parquet(f"{folder}/{name}.parquet")
    pd.DataFrame(frame).to_csv(f"{folder}/{name}.csv", index=False)
`

// preset is Evidently's side; it prints the processor's seconds of the
// comparison alone, with the files read.
const preset = `
import os, sys, time
os.environ["DO_NOT_TRACK"] = "1"
import pandas as pd
from evidently import Dataset, DataDefinition, Report
from evidently.presets import DataDriftPreset
begin = time.process_time()
read = pd.read_csv if sys.argv[1].endswith("csv") else pd.read_parquet
ref, cur = read(sys.argv[1]), read(sys.argv[2])
Report([DataDriftPreset()]).run(Dataset.from_pandas(cur, data_definition=DataDefinition()), Dataset.from_pandas(ref, data_definition=DataDefinition())).dict()
print(time.process_time() - begin)
`

func main() {
	rows, rounds := flag.Int("rows", 100_000, "`rows` of each file"), flag.Int("rounds", 5, "`rounds`")
	format, python := flag.String("format", "parquet", "`format`: parquet or csv"), flag.String("python", os.Getenv("MLOPS_EVIDENTLY_PYTHON"), "`interpreter` that has evidently")
	flag.Parse()
	if flag.NArg() == 2 {
		compare(flag.Arg(0), flag.Arg(1))
		return
	}
	dir, err := os.MkdirTemp("", "bench-drift")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	run(exec.Command(*python, "-c", made, fmt.Sprint(*rows), dir))
	ref, cur := filepath.Join(dir, "reference."+*format), filepath.Join(dir, "current."+*format)
	self, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	var ours, whole, alone []float64
	var memory [2]int64
	for range *rounds {
		go_ := run(exec.Command(self, ref, cur))
		py := run(exec.Command(*python, "-c", preset, ref, cur))
		ours, whole = append(ours, go_.cpu), append(whole, py.cpu)
		var comparison float64
		if _, err := fmt.Sscan(py.out, &comparison); err != nil {
			log.Fatal(err)
		}
		alone = append(alone, comparison)
		memory = [2]int64{max(memory[0], go_.rss), max(memory[1], py.rss)}
	}
	a, b, c := median(ours), median(whole), median(alone)
	fmt.Printf("%d rows, 20 columns, %s, medians of %d rounds, CPU seconds\n", *rows, *format, *rounds)
	fmt.Printf("Go, cold start to verdict    %.3f   %d MB\n", a, memory[0]>>10)
	fmt.Printf("Evidently's preset           %.3f   1/%.1f\n", c, c/a)
	fmt.Printf("the same with its import     %.3f   1/%.1f   %d MB\n", b, b/a, memory[1]>>10)
}

// compare is our side.
func compare(reference, current string) {
	ref, err := table.Read(reference, table.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cur, err := table.Read(current, table.Options{Like: ref})
	if err != nil {
		log.Fatal(err)
	}
	for i, c := range ref.Columns {
		r, err := drift.CompareColumn(c.Column, cur.Columns[i].Column, drift.Options{})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Column, r.Method, r.Value, r.Drifted)
	}
}

type ran struct {
	out string
	cpu float64
	rss int64 // kilobytes
}

func run(cmd *exec.Cmd) ran {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	bounded := exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	bounded.Stderr = os.Stderr
	out, err := bounded.Output()
	if err != nil {
		log.Fatal(err)
	}
	u := bounded.ProcessState.SysUsage().(*syscall.Rusage)
	return ran{string(out), (bounded.ProcessState.UserTime() + bounded.ProcessState.SystemTime()).Seconds(), u.Maxrss}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
