package table_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/mlops-integration/mlops/drift"
	"github.com/mlops-integration/mlops/drift/table"
)

func ExampleTable_WriteProfile() {
	dir, err := os.MkdirTemp("", "profile")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	train, today := filepath.Join(dir, "train.csv"), filepath.Join(dir, "today.csv")
	if err := os.WriteFile(train, []byte("age\n31.5\n45\n27\n52\n38\n29\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(today, []byte("age\n61.5\n55\n70\n66\n58\n63\n"), 0o600); err != nil {
		log.Fatal(err)
	}

	// Once, with the training:
	data, err := table.Read(train, table.Options{MaxValues: drift.MaxExact})
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, "train.profile"))
	if err != nil {
		log.Fatal(err)
	}
	if err := data.WriteProfile(file); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}

	// Each day, without the data:
	ref, err := table.Read(file.Name(), table.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cur, err := table.Read(today, table.Options{Like: ref})
	if err != nil {
		log.Fatal(err)
	}
	r, err := drift.CompareColumn(ref.Columns[0].Column, cur.Columns[0].Column, drift.Options{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %.4f %v\n", r.Method, r.Value, r.Drifted)
	// Output: ks 0.0022 true
}
