// Package rayserve puts registered MLflow models on Ray Serve and asks them
// for predictions.
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//		"log"
//		"os"
//
//		"github.com/mlops-integration/mlops"
//		"github.com/mlops-integration/mlops/rayserve"
//	)
//
//	func main() {
//		ctx := context.Background()
//		c, err := rayserve.New(rayserve.Options{
//			URL:  "http://127.0.0.1:8265", // the Ray dashboard
//			Auth: mlops.Auth{Token: mlops.Secret(os.Getenv("RAY_AUTH_TOKEN"))},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		if _, err := c.Deploy(ctx, rayserve.App{
//			Name: "wine", ModelURI: "models:/wine/3", TrackingURI: "http://127.0.0.1:5000",
//		}, rayserve.DeployOptions{}); err != nil {
//			log.Fatal(err)
//		}
//		p, err := c.Invoke(ctx, "wine", rayserve.DataframeSplit{
//			Columns: []string{"alcohol", "ash"}, Data: [][]any{{13.2, 2.1}},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		fmt.Println(p.Floats())
//	}
//
// A deployed model answers with MLflow's own scoring server, so /invocations
// takes and gives what "mlflow models serve" does. The replica reads MLflow's
// credentials from the environment that Ray was started with: a Serve
// configuration can be read over REST and holds none.
//
// Ray Serve knows only the configuration of a whole cluster: what a PUT leaves
// out is deleted. This package therefore reads, merges and writes under a lock
// in Options.StateDir, leaves the applications of others as they are, and
// keeps the desired configuration there, because Ray forgets it when its head
// stops; [Reapply] brings it back.
//
// Reference: Ray 2.60, the Serve REST API v2 ("PUT /api/serve/applications/")
// and ray.serve.schema.
package rayserve
