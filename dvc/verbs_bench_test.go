package dvc

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// manyFiles is a repository with a folder "many" of 2000 small files.
func manyFiles(b *testing.B) *Repo {
	b.Helper()
	r, _ := tracking(b, 0)
	for i := range 2000 {
		dir := r.abs(fmt.Sprintf("many/%02d", i%50))
		require.NoError(b, os.MkdirAll(dir, 0o777))
		require.NoError(b, os.WriteFile(fmt.Sprintf("%s/%04d", dir, i), fmt.Append(nil, "file ", i), 0o666))
	}
	return r
}

// BenchmarkAdd is what it takes to add a folder of small files to an empty cache.
func BenchmarkAdd(b *testing.B) {
	r := manyFiles(b)
	for b.Loop() {
		_, err := r.Add(b.Context(), []string{"many"}, AddOptions{})
		require.NoError(b, err)
		b.StopTimer()
		for _, p := range []string{"many.dvc", ".dvc/cache", ".dvc/tmp"} {
			require.NoError(b, os.RemoveAll(r.abs(p)))
		}
		b.StartTimer()
	}
}

// BenchmarkCheckout is what it takes to place a folder of small files.
func BenchmarkCheckout(b *testing.B) {
	r := manyFiles(b)
	_, err := r.Add(b.Context(), []string{"many"}, AddOptions{})
	require.NoError(b, err)
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, os.RemoveAll(r.abs("many")))
		b.StartTimer()
		_, err := r.Checkout(b.Context(), CheckoutOptions{})
		require.NoError(b, err)
	}
}
