package mlflow_test

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"io"
	"log"
	"os"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

var run *mlflow.Run

func ExampleClient_Download() {
	body, err := c.Download(ctx, "runs:/"+os.Getenv("MLFLOW_RUN_ID"), "large.bin")
	if err != nil {
		log.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(os.Stdout, body); err != nil { // goes on after a cut by itself
		log.Fatal(err)
	}
}

func ExampleClient_DownloadFile() {
	err := c.DownloadFile(ctx, "models:/wine@champion", "model.skops", "model.skops")
	if errors.Is(err, mlops.ErrNotFound) {
		fmt.Println("there is no champion yet")
	}
}

func ExampleClient_UploadDir() {
	if err := c.UploadDir(ctx, os.Getenv("MLFLOW_RUN_ID"), "out/plots", "plots"); err != nil {
		log.Fatal(err)
	}
}

func ExampleClient_DeleteArtifacts() {
	if err := c.DeleteArtifacts(ctx, os.Getenv("MLFLOW_RUN_ID"), "checkpoints/old"); err != nil {
		log.Fatal(err)
	}
}

func ExampleModelsService_Download() {
	m, err := c.Models.Download(ctx, "models:/wine@champion", "model")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.ID, m.Python, m.Requirements)
	if m.Signature != nil {
		fmt.Println(m.Signature.Inputs)
	}
}

func ExampleReadModel() {
	dir, err := os.MkdirTemp("", "model")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const doc = "flavors:\n  onnx: {data: model.onnx, onnx_version: 1.20.0}\nmlflow_version: 3.17.2\n"
	if err := os.WriteFile(dir+"/MLmodel", []byte(doc), 0o600); err != nil {
		log.Fatal(err)
	}
	m, err := mlflow.ReadModel(dir)
	fmt.Println(m.Flavors["onnx"]["data"], m.MLflowVersion, err)
	// Output: model.onnx 3.17.2 <nil>
}

func ExampleRun_LogTable() {
	t := mlflow.Frame{Columns: []string{"question", "score"}, Data: [][]any{{"what is a run?", 0.9}}}
	if err := run.LogTable(ctx, t, "eval/answers.json"); err != nil {
		log.Fatal(err)
	}
}

func ExampleRun_LogFigure() {
	svg := bytes.NewBufferString(`<svg xmlns="http://www.w3.org/2000/svg"/>`)
	if err := run.LogFigure(ctx, svg, "plots/loss.svg"); err != nil {
		log.Fatal(err)
	}
}

func ExampleRun_LogImageAt() {
	sample := image.NewGray(image.Rect(0, 0, 28, 28))
	for step := range int64(3) {
		if err := run.LogImageAt(ctx, step, "digits/validation", sample); err != nil {
			log.Fatal(err)
		}
	}
}

func ExampleONNX() {
	_, err := run.LogModel(ctx, "out", mlflow.ModelSpec{
		Name:    "classifier",
		Flavors: []mlflow.Flavor{mlflow.ONNX{File: "model.onnx"}},
		Venv:    ".venv",
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleFiles() {
	_, err := run.LogModel(ctx, "out/adapter", mlflow.ModelSpec{
		Name:    "sentiment",
		Flavors: []mlflow.Flavor{mlflow.Files{Name: "gguf", Config: map[string]any{"context": 4096}}},
	})
	if err != nil {
		log.Fatal(err)
	}
}
