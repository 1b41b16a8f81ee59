package evidently_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/evidently"
)

// Find drift, and keep the result where Evidently's pages show it.
func Example() {
	ctx := context.Background()
	c, err := evidently.New(evidently.Options{URL: "http://127.0.0.1:8000", Auth: mlops.Auth{Token: "secret", Header: evidently.SecretHeader}})
	if err != nil {
		log.Fatal(err)
	}
	r, err := evidently.NewRunner(evidently.RunnerOptions{Python: "/opt/evidently/bin/python"})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	report, err := r.Drift(ctx, "reference.csv", "today.parquet", evidently.DriftOptions{Name: "today", Tags: []string{"nightly"}})
	if err != nil {
		log.Fatal(err)
	}
	project, err := c.EnsureProject(ctx, "wine")
	if err != nil {
		log.Fatal(err)
	}
	report.SnapshotID, err = c.AddSnapshot(ctx, project.ID, report.Snapshot)
	if err != nil {
		log.Fatal(err)
	}
	for _, col := range report.Columns {
		fmt.Println(col.Column, col.MethodName, col.Value, col.Drifted)
	}
}

func ExampleDecodeDrift() {
	result := json.RawMessage(`{
	  "metrics": [
	    {"id": "1", "config": {"type": "evidently:metric_v2:DriftedColumnsCount", "drift_share": 0.5}, "value": {"count": 1.0, "share": 1.0}},
	    {"id": "2", "config": {"type": "evidently:metric_v2:ValueDrift", "column": "alcohol", "method": "K-S p_value", "threshold": 0.05}, "value": 0.0004}],
	  "tests": [
	    {"id": "lt", "metric_config": {"metric_id": "1"}, "status": "FAIL"},
	    {"id": "drift", "metric_config": {"metric_id": "2"}, "status": "FAIL"}]}`)
	report, err := evidently.DecodeDrift(result)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Drifted, report.DriftedColumns)
	for _, c := range report.Columns {
		fmt.Printf("%s: %s %g (%s)\n", c.Column, c.Method, c.Value, c.Kind)
	}
	// Output:
	// true 1
	// alcohol: ks 0.0004 (p-value)
}

func ExampleParseTime() {
	at, err := evidently.ParseTime("2026-11-23T01:28:14.158896")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(at.Year(), at.Location())
	// Output: 2026 UTC
}
