// Package s3store reaches MLflow artifacts in S3 and in what speaks like it,
// past the tracking server:
//
//	package main
//
//	import (
//		"context"
//		"log"
//
//		"github.com/mlops-integration/mlops/mlflow"
//		"github.com/mlops-integration/mlops/mlflow/s3store"
//	)
//
//	func main() {
//		ctx := context.Background()
//		s3, err := s3store.New(ctx, s3store.Options{})
//		if err != nil {
//			log.Fatal(err)
//		}
//		c, err := mlflow.New(mlflow.Options{
//			URL:       "http://127.0.0.1:5000",
//			Artifacts: mlflow.ArtifactOptions{Stores: map[string]mlflow.Store{"s3": s3}},
//		})
//		if err != nil {
//			log.Fatal(err)
//		}
//		if err := c.DownloadDir(ctx, "models:/wine@champion", "", "model"); err != nil {
//			log.Fatal(err)
//		}
//	}
//
// Credentials, region and profile come from where the AWS tools take them. The
// endpoint is the one that MLflow's Python client uses.
package s3store
