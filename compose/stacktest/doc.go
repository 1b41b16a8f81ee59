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
// binary; [Stack.Project] is a name that a test has for itself. Test binaries
// disturb neither each other nor the stack of MLOPS_HOME or ~/.mlops: each has a
// [compose.Stack.Twin] with data, secrets and ports of its own.
//
// The servers are containers where testcontainers-go finds an engine of this
// machine that answers and docker has compose, and processes otherwise;
// MLOPS_RUNTIME=docker or process decides, if it is set. An engine that only a
// docker context knows is named in DOCKER_HOST. The test's log says which and
// why. What they run, images or environments, is made once, which takes minutes
// the first time: "mlopsctl setup" or "mlopsctl setup --runtime docker" does it
// beforehand.
//
// Nothing has to be stopped. A guard, which is the test binary once more, sees
// the end of the test binary, be it a panic or kill -9, and deletes the servers
// with their data, containers, networks and volumes; it needs some seconds, for
// which no program waits. If the guard was killed, too, the next test binary does so.
package stacktest
