package mlops

import "iter"

// Collect reads seq to its end. It returns what came before the first error,
// together with that error.
//
//	runs, err := mlops.Collect(c.Runs(ctx, q))
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var out []T
	for v, err := range seq {
		if err != nil {
			return out, err
		}
		out = append(out, v)
	}
	return out, nil
}
