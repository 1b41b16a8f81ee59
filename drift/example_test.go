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

func ExampleCompare() {
	ref := []drift.Column{drift.Numbers("age", []float64{31, 45, 27, 52, 38, 29}), drift.Counted("plan", map[string]int{"free": 60, "paid": 40}, 0)}
	cur := []drift.Column{drift.Numbers("age", []float64{61, 55, 70, 66, 58, 63}), drift.Counted("plan", map[string]int{"free": 50, "gold": 50}, 0)}
	r, err := drift.Compare(ref, cur, drift.Rule{Share: 0.5, Important: []string{"age"}, Adjust: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Drifted, r.Important)
	for _, f := range r.Findings {
		fmt.Printf("%s: %s: %s\n", f.Column, f.Check, f.Detail)
	}
	// Output:
	// true [age]
	// plan: unseen_categories: categories that the reference does not have: "gold"
}
