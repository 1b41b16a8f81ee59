package client

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoundingDoesNotDecideWhatIsBetter(t *testing.T) {
	for _, tt := range []struct {
		value, best, margin float64
		lower, want         bool
	}{
		{0.9, 0.8, 0.1, false, true},
		{0.8, 0.9, 0.1, true, true},
		{0.3, 0.1, 0.2, false, true},
		{0.9, 0.8, 0.1001, false, false},
		{0.5, 0.5, 0, false, false},
		{0.5, 0.5, 0, true, false},
		{0.5, 0.4, 0, true, false},
		{math.NaN(), 0.5, 0, false, false},
		{0.5, math.NaN(), 0.1, false, true},
		{math.NaN(), math.NaN(), 0, true, false},
	} {
		require.Equal(t, tt.want, beats(tt.value, tt.best, tt.margin, tt.lower), "%+v", tt)
	}
}
