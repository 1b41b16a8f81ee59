package s3store_test

import (
	"context"
	"log"

	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/mlflow/s3store"
)

func ExampleNew() {
	ctx := context.Background()
	s3, err := s3store.New(ctx, s3store.Options{Endpoint: "http://127.0.0.1:9000", Profile: "team"})
	if err != nil {
		log.Fatal(err)
	}
	c, err := mlflow.New(mlflow.Options{
		URL:       "http://127.0.0.1:5000",
		Artifacts: mlflow.ArtifactOptions{Stores: map[string]mlflow.Store{"s3": s3}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.UploadFile(ctx, "s3://models/incoming", "weights.bin", "v3/weights.bin"); err != nil {
		log.Fatal(err)
	}
}
