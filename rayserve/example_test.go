package rayserve_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/rayserve"
)

func Example() {
	ctx := context.Background()
	c, err := rayserve.New(rayserve.Options{
		URL:  "http://127.0.0.1:8265",
		Auth: mlops.Auth{Token: mlops.Secret(os.Getenv("RAY_AUTH_TOKEN"))},
	})
	if err != nil {
		log.Fatal(err)
	}
	app, err := c.Deploy(ctx, rayserve.AppSpec{
		Name:        "wine",
		ModelURI:    "models:/wine/3",
		TrackingURI: "http://127.0.0.1:5000",
	}, rayserve.DeployOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(app.Status, app.URL)

	p, err := c.Invoke(ctx, "wine", rayserve.DataframeSplit{
		Columns: []string{"alcohol", "ash"},
		Data:    [][]any{{13.2, 2.1}, {12.4, 2.3}},
	})
	if err != nil {
		log.Fatal(err)
	}
	classes, err := p.Floats()
	fmt.Println(classes, err)
}

func ExampleClient_Deploy() {
	var c *rayserve.Client // from New
	_, err := c.Deploy(context.Background(), rayserve.AppSpec{Name: "wine", ModelURI: "models:/wine/4"}, rayserve.DeployOptions{
		OnState: func(a rayserve.App) { log.Print(a.Status, a.Deployments) },
	})
	if e, ok := errors.AsType[*rayserve.DeployError](err); ok {
		log.Print("why: ", e.Reason, "; serving again: ", e.Restored)
	}
}

func ExampleClient_Applications() {
	var c *rayserve.Client // from New
	for app, err := range c.Applications(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(app.Name, app.Status, app.ModelURI)
	}
}

func ExampleReapply() {
	var c *rayserve.Client // from New, with the StateDir that the deployments used
	// after Ray was started again
	if err := rayserve.Reapply(context.Background(), c); err != nil {
		log.Fatal(err)
	}
}

func ExamplePrediction_Floats() {
	p := rayserve.Prediction{Predictions: []byte(`[0.5, 1]`)}
	fmt.Println(p.Floats())
	p = rayserve.Prediction{Predictions: []byte(`["red", "white"]`)}
	fmt.Println(p.Strings())
	// Output:
	// [0.5 1] <nil>
	// [red white] <nil>
}
