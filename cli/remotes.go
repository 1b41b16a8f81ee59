package cli

// The commands reach every kind of DVC remote. A program that uses package dvc
// links the drivers it needs; client links directories and S3.
import (
	_ "github.com/mlops-integration/mlops/dvc/remote/azure"
	_ "github.com/mlops-integration/mlops/dvc/remote/gcs"
	_ "github.com/mlops-integration/mlops/dvc/remote/http"
	_ "github.com/mlops-integration/mlops/dvc/remote/ssh"
)
