// Package evidently speaks to Evidently: its UI service, which keeps projects
// and snapshots, and its Python library, which finds drift.
//
//	c, err := evidently.New(evidently.Options{
//		URL:  "http://127.0.0.1:8000",
//		Auth: mlops.Auth{Token: secret, Header: "evidently-secret"},
//	})
//	r, err := evidently.NewRunner(evidently.RunnerOptions{Python: "/opt/evidently/bin/python"})
//	defer r.Close()
//
//	project, err := c.EnsureProject(ctx, "wine")
//	report, err := r.Drift(ctx, "reference.csv", "today.parquet", evidently.DriftOptions{Name: "today"})
//	report.SnapshotID, err = c.AddSnapshot(ctx, project.ID, report.Snapshot)
//	fmt.Println(report.Drifted, report.Share)
//
// A [Runner] keeps one Python process and feeds it one comparison at a time:
// importing Evidently costs 6 to 18 s of processor time, a comparison of twenty
// columns and ten thousand rows about 6. The verdicts are Evidently's own. A
// score is never compared with a threshold here, because for some methods small
// means drift, a p-value, and for others large does, a distance.
//
// Written for Evidently 0.7.3 and later; its REST description is served at
// /schema. Upstream's secret guards changes only, and reading is open to all who
// reach the port. In the stack of this module every route but /api/version asks
// for it; this package and upstream's own client send it with each request.
package evidently
