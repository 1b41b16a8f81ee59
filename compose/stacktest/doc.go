// Package stacktest gives Go tests real servers: MLflow, S3, PostgreSQL,
// Airflow, Ray Serve and Evidently.
//
//	func TestRunIsRecorded(t *testing.T) {
//		s := stacktest.Start(t, stacktest.MLflow)
//		at := s.Endpoint(stacktest.MLflow)
//		c, err := mlflow.New(mlflow.Options{URL: at.URL, Auth: at.Auth})
//		if err != nil {
//			t.Fatal(err)
//		}
//		// …
//	}
//
// The servers start at their first use and are shared by all tests of a test
// binary; [Stack.Project] is a name that a test has for itself. What they run is
// installed once, under MLOPS_HOME or ~/.mlops, which takes minutes the first
// time. Test binaries disturb neither each other nor the stack of that home:
// each has a [compose.Stack.Twin] with data, secrets and ports of its own.
//
// The servers are processes, with or without a container engine on the machine.
//
// Nothing has to be stopped. A guard, which is the test binary once more as the
// stack's supervisor, sees the end of the test binary, be it a panic or kill -9,
// stops the servers and deletes their data; it needs some seconds, for which
// nobody waits. If the guard was killed, too, the next test binary does so.
package stacktest
