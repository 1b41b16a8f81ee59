//go:build unix

// Command dvc compares ours with real dvc and with what the work costs at
// least. bench/dvc/README.md says how it is run and what it printed.
package main

import (
	"crypto/md5"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// cost is what one command took.
type cost struct {
	wall, cpu float64 // s
	rss       float64 // MB
}

// tool is one of the contenders.
type tool struct {
	name string
	cmd  []string // before the verb
}

type bench struct {
	work   string
	tools  []tool
	ops    []string
	cache  string // cache.type
	remote string
	config []string // of the remote, key=value
	costs  map[string]map[string][]cost
	buried int
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "md5" {
		check(hashAll(os.Args[2]))
		return
	}
	ours := flag.String("ours", "mlopsctl dvc", "our `command`")
	dvc := flag.String("dvc", os.Getenv("MLOPS_DVC"), "real dvc's `command`")
	sizes := flag.String("sizes", "10000x4096", "files x bytes, with commas")
	rounds := flag.Int("rounds", 3, "rounds; the order changes with each")
	ops := flag.String("ops", "add,re-add,status,checkout,push,push-noop,pull", "what to do, in this order")
	cache := flag.String("cache", "", "cache.type; empty is dvc's default")
	url := flag.String("remote", "", "`url` of the remote; empty is a directory")
	config := flag.String("config", "", "options of the remote, key=value, with commas")
	flag.Parse()
	work, err := os.MkdirTemp("", "bench-dvc-")
	check(err)
	defer remove(work)
	b := &bench{work: work, ops: strings.Split(*ops, ","), cache: *cache, remote: *url}
	b.tools = []tool{{"ours", strings.Fields(*ours)}, {"dvc", strings.Fields(*dvc)}}
	if *config != "" {
		b.config = strings.Split(*config, ",")
	}
	for k, v := range map[string]string{
		"HOME": work, "DVC_SITE_CACHE_DIR": filepath.Join(work, "site"), "DVC_GLOBAL_CONFIG_DIR": filepath.Join(work, "global"),
		"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_NOSYSTEM": "1",
	} {
		check(os.Setenv(k, v))
	}
	for _, size := range strings.Split(*sizes, ",") {
		n, bytes, ok := strings.Cut(size, "x")
		files, err := strconv.Atoi(n)
		check(err)
		length, err := strconv.ParseInt(bytes, 10, 64)
		if check(err); !ok {
			check(fmt.Errorf("size %q is not files x bytes", size))
		}
		b.size(files, length, *rounds)
	}
}

// size runs all rounds with one size of data.
func (b *bench) size(files int, length int64, rounds int) {
	master := filepath.Join(b.work, "master")
	check(grow(master, files, length))
	b.costs = map[string]map[string][]cost{}
	var loads []string
	for round := range rounds {
		loads = append(loads, load())
		b.floor(master)
		tools := slices.Clone(b.tools)
		if round%2 == 1 {
			slices.Reverse(tools)
		}
		var said []string
		for _, t := range tools {
			said = append(said, b.round(t, master))
		}
		if said[0] != said[1] {
			check(fmt.Errorf("the tools wrote different .dvc files:\n%s%s", said[0], said[1]))
		}
	}
	b.bury(master)
	fmt.Printf("\n%d files of %d bytes, cache.type %s, %d rounds, load before each %s\n", files, length, or(b.cache, "default"), rounds, strings.Join(loads, " "))
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "\tours s\tCPU\tMB\tdvc s\tCPU\tMB\tdvc/ours\tCPU")
	for _, op := range b.ops {
		o, d := median(b.costs[op]["ours"]), median(b.costs[op]["dvc"])
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.0f\t%.2f\t%.2f\t%.0f\t%.1f\t%.1f\n", op, o.wall, o.cpu, o.rss, d.wall, d.cpu, d.rss, d.wall/o.wall, d.cpu/o.cpu)
	}
	for _, op := range []string{"md5", "copy"} {
		f := median(b.costs[op]["floor"])
		fmt.Fprintf(w, "bare %s\t%.3f\t%.3f\t\t\t\t\t\t\n", op, f.wall, f.cpu)
	}
	check(w.Flush())
}

// round does everything once with one tool, in a repository of its own, and
// returns the .dvc file.
func (b *bench) round(t tool, master string) string {
	repo, far := filepath.Join(b.work, "repo"), filepath.Join(b.work, "far")
	for _, dir := range []string{repo, far, filepath.Join(b.work, "site")} {
		b.bury(dir)
	}
	data, cache := filepath.Join(repo, "data"), filepath.Join(repo, ".dvc", "cache")
	check(os.Mkdir(repo, 0o755))
	quiet(repo, "git", "init", "-q")
	dvc := b.tools[1].cmd // makes the repository for both
	quiet(repo, append(dvc, "init", "-q")...)
	quiet(repo, append(dvc, "remote", "add", "-q", "-d", "far", or(b.remote, far))...)
	for _, kv := range b.config {
		k, v, _ := strings.Cut(kv, "=")
		quiet(repo, append(dvc, "remote", "modify", "-q", "--local", "far", k, v)...)
	}
	if b.cache != "" {
		quiet(repo, append(dvc, "config", "-q", "cache.type", b.cache)...)
	}
	b.bury(filepath.Join(b.work, "site")) // of what dvc init and config knew
	quiet(repo, "cp", "-R", master, data)
	syscall.Sync()
	time.Sleep(2500 * time.Millisecond) // files just written are hashed again, by design
	for _, op := range b.ops {
		verb := []string{op}
		switch op {
		case "add", "re-add":
			verb = []string{"add", "data"}
		case "checkout":
			b.bury(data)
		case "push-noop":
			verb = []string{"push"}
		case "pull":
			b.bury(data)
			b.bury(cache)
		}
		b.time(op, t.name, repo, append(slices.Clone(t.cmd), verb...)...)
	}
	text, err := os.ReadFile(data + ".dvc")
	check(err)
	return string(text)
}

// floor measures what adding costs at least: reading and hashing all, and
// copying all.
func (b *bench) floor(master string) {
	self, err := os.Executable()
	check(err)
	b.time("md5", "floor", b.work, self, "md5", master)
	to := filepath.Join(b.work, "copy")
	b.time("copy", "floor", b.work, "cp", "-R", master, to)
	b.bury(to)
}

// bury moves a directory away, to be deleted when all is measured: a file
// system that has just deleted many files makes new ones slowly.
func (b *bench) bury(dir string) {
	grave := filepath.Join(b.work, "buried")
	check(os.MkdirAll(grave, 0o755))
	b.buried++
	if err := os.Rename(dir, filepath.Join(grave, strconv.Itoa(b.buried))); !errors.Is(err, fs.ErrNotExist) {
		check(err)
	}
}

// time runs a command after a sync and keeps its cost.
func (b *bench) time(op, name, dir string, args ...string) {
	syscall.Sync()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	wall := time.Since(begin).Seconds()
	if err != nil {
		check(fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out))
	}
	ru := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	rss := float64(ru.Maxrss) / 1024
	if runtime.GOOS == "darwin" {
		rss /= 1024
	}
	if b.costs[op] == nil {
		b.costs[op] = map[string][]cost{}
	}
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	b.costs[op][name] = append(b.costs[op][name], cost{wall, cpu, rss})
	fmt.Printf("%-10s %-5s %7.3f s  CPU %7.3f s  %4.0f MB\n", op, name, wall, cpu, rss)
}

func median(cs []cost) cost {
	pick := func(f func(cost) float64) float64 {
		var xs []float64
		for _, c := range cs {
			xs = append(xs, f(c))
		}
		slices.Sort(xs)
		if len(xs) == 0 {
			return 0
		}
		return xs[len(xs)/2]
	}
	return cost{
		pick(func(c cost) float64 { return c.wall }), pick(func(c cost) float64 { return c.cpu }), pick(func(c cost) float64 { return c.rss }),
	}
}

// grow writes files of random bytes, a hundred to a directory.
func grow(dir string, files int, length int64) error {
	rnd := rand.New(rand.NewPCG(1, uint64(files)))
	block := make([]byte, 1<<20)
	for i := range files {
		sub := filepath.Join(dir, strconv.Itoa(i/100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		f, err := os.Create(filepath.Join(sub, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		for left := length; left > 0; left -= min(left, int64(len(block))) {
			part := block[:min(left, int64(len(block)))]
			for j := 0; j < len(part)-7; j += 8 {
				binary.LittleEndian.PutUint64(part[j:], rnd.Uint64())
			}
			if _, err := f.Write(part); err != nil {
				return err
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// hashAll is the least that hashing costs on one core.
func hashAll(dir string) error {
	buf := make([]byte, 1<<20)
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		h := md5.New()
		for {
			n, err := f.Read(buf)
			_, _ = h.Write(buf[:n])
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
		}
	})
}

func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Fields(string(b))[0]
}

func quiet(dir string, args ...string) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		check(fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out))
	}
}

func remove(dir string) {
	_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
	check(os.RemoveAll(dir))
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
