package pyrepr

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValuesPrintAsInPython is against Python 3.11's repr.
func TestValuesPrintAsInPython(t *testing.T) {
	for v, want := range map[float64]string{1: "1.0", 0.2: "0.2", 1e-5: "1e-05", 1e16: "1e+16", 123456789012345680: "1.2345678901234568e+17", math.Inf(-1): "-inf", 0: "0.0"} {
		require.Equal(t, want, Float(v, 64))
	}
	require.Equal(t, "nan", Float(math.NaN(), 64))
	require.Equal(t, "-0.0", Float(math.Copysign(0, -1), 64))
	require.Equal(t, "inf", Float(math.Inf(1), 64))
	for s, want := range map[string]string{"a": "'a'", "it's": `"it's"`, "'\"": `'\'"'`, "\u200b\x7f\U000e0001é\\\t\r\n": `'\u200b\x7f\U000e0001é\\\t\r\n'`} {
		require.Equal(t, want, String(s))
	}
}
