package dvc

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/dvc/internal/cache"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

// listingOf makes a directory's listing of n files, a hundred in a folder.
func listingOf(n int) object.Listing {
	t := make(object.Listing, n)
	for i := range t {
		sum := md5.Sum([]byte(strconv.Itoa(i)))
		t[i] = object.Entry{Path: fmt.Sprintf("train/%05d/image-%07d.jpg", i/100, i), ID: object.ID(hex.EncodeToString(sum[:]))}
	}
	t.Sort()
	return t
}

// BenchmarkListing reads the listing of a directory and writes it again.
// bench/dvc/listing.sh makes a table and a plot of it.
func BenchmarkListing(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			c := &cache.Cache{Dir: b.TempDir()}
			id, err := c.PutListing(b.Context(), listingOf(n))
			require.NoError(b, err)
			runtime.GC() // the names that were made up
			for b.Loop() {
				t, err := c.Listing(id)
				if err != nil || len(t) != n {
					b.Fatal(len(t), err)
				}
				require.NoError(b, os.Remove(c.Path(id)))
				again, err := c.PutListing(b.Context(), t)
				require.NoError(b, err)
				require.Equal(b, id, again)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/file")
			b.ReportMetric(peakMB(b), "peak-MB")
		})
	}
}

// peakMB is the most memory that this process ever had.
func peakMB(t testing.TB) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("no /proc: ", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	kb, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return float64(kb) / 1024
}

func TestAListingOfAMillionFilesTakesLessThan400MB(t *testing.T) {
	if testing.Short() {
		t.Skip("short: seconds of one core")
	}
	_ = peakMB(t)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				t.Skip("the race detector needs memory of its own")
			}
		}
	}
	self, err := os.Executable()
	require.NoError(t, err)
	out, err := exec.Command(self, "-test.run", "^$", "-test.bench", "^BenchmarkListing/1000000$", "-test.benchtime", "2x").CombinedOutput()
	require.NoError(t, err, "%s", out)
	m := regexp.MustCompile(`([\d.]+) peak-MB`).FindSubmatch(bytes.TrimSpace(out))
	require.NotNil(t, m, "%s", out)
	peak, err := strconv.ParseFloat(string(m[1]), 64)
	require.NoError(t, err)
	t.Logf("%s", out)
	require.Less(t, peak, 400.0)
}
