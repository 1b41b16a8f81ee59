// Package drift compares two sets of data as Evidently does, in Go.
//
//	ref := drift.Numbers("age", []float64{31, 45, 27, 52, 38, 29})
//	cur := drift.Numbers("age", []float64{61, 55, 70, 66, 58, 63})
//	r, err := drift.CompareColumn(ref, cur, drift.Options{})
//	if err != nil {
//		log.Fatal(err)
//	}
//	fmt.Println(r.Method, r.Drifted) // ks true
//
// The methods have Evidently's names, thresholds and signs, and give its
// numbers: those of evidently 0.7.23 with scipy 1.17 and numpy 2.4, to 1e-9
// relative. Its oddities stay under its names and are told at each [Method]. What
// is better done otherwise has a name of its own.
//
// [Compare] is for many columns: a [Rule] says what counts, so that chance does
// not, and [Quality] finds what is wrong with the data beside drift.
//
// The package reads no file and asks no server.
package drift
