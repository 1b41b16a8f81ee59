// Serve deploys the champion of a registered model and asks it one question.
// mlopsctl demo registers the model that it serves.
//
//	mlopsctl demo
//	go run ./examples/serve
package main

import (
	"context"
	"log"

	"github.com/mlops-integration/mlops/client"
	"github.com/mlops-integration/mlops/rayserve"
)

func main() {
	if err := serve(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	p, err := client.FromProject(ctx, "breast-cancer")
	if err != nil {
		return err
	}
	defer p.Close()

	app, err := p.Deploy(ctx, "breast-cancer@champion", client.DeployOptions{Name: "classifier"})
	if err != nil {
		return err
	}
	log.Printf("%s answers at %s", app.ModelURI, app.URL)

	out, err := p.Predict(ctx, "classifier", rayserve.DataframeSplit{
		Data: [][]any{{
			17.99, 10.38, 122.8, 1001.0, 0.1184, 0.2776, 0.3001, 0.1471, 0.2419, 0.07871,
			1.095, 0.9053, 8.589, 153.4, 0.006399, 0.04904, 0.05373, 0.01587, 0.03003, 0.006193,
			25.38, 17.33, 184.6, 2019.0, 0.1622, 0.6656, 0.7119, 0.2654, 0.4601, 0.1189,
		}},
	})
	if err != nil {
		return err
	}
	class, err := out.Floats()
	if err != nil {
		return err
	}
	log.Printf("class %v", class)
	return nil
}
