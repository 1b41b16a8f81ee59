package drift_test

import (
	"fmt"
	"log"

	"github.com/mlops-integration/mlops/drift"
)

func ExampleCompareColumn() {
	ref := drift.Numbers("age", []float64{31, 45, 27, 52, 38, 29})
	cur := drift.Numbers("age", []float64{61, 55, 70, 66, 58, 63})
	r, err := drift.CompareColumn(ref, cur, drift.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %.4f %v\n", r.Method, r.Value, r.Drifted)
	// Output: ks 0.0022 true
}

func ExampleCategories() {
	ref := drift.Categories("plan", []string{"free", "free", "free", "paid"}, 0)
	cur := drift.Categories("plan", []string{"paid", "paid", "free", "paid"}, 1)
	r, err := drift.CompareColumn(ref, cur, drift.Options{Method: drift.PSI})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f %v\n", r.Value, r.Drifted)
	// Output: 1.10 true
}
