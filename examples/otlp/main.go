// Command otlp sends OpenTelemetry's spans to MLflow, which shows them as a
// trace, and reads that trace back.
//
//	go run . http://user:password@127.0.0.1:5000
//
// It is a module of its own, so that nothing else here links OpenTelemetry.
package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: otlp http://user:password@host:port")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, address string) (err error) {
	c, err := mlflow.New(mlflow.Options{URL: address})
	if err != nil {
		return err
	}
	experiment, err := c.CreateExperiment(ctx, "otlp-example", mlflow.ExperimentOptions{})
	if errors.Is(err, mlops.ErrAlreadyExists) {
		var e mlflow.Experiment
		e, err = c.ExperimentByName(ctx, "otlp-example")
		experiment = e.ID
	}
	if err != nil {
		return err
	}

	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(c.URL()+"/v1/traces"),
		otlptracehttp.WithHeaders(headers(address, experiment)))
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	tracer := provider.Tracer("otlp-example")

	inner, root := tracer.Start(ctx, "answer")
	root.SetAttributes(
		attribute.String("mlflow.spanType", "CHAIN"),
		attribute.String("mlflow.spanInputs", `{"question": "why"}`),
		attribute.String("mlflow.spanOutputs", `"because"`))
	_, step := tracer.Start(inner, "look up")
	step.SetAttributes(attribute.String("mlflow.spanType", "TOOL"), attribute.Int("found", 3))
	step.End()
	root.SetStatus(codes.Ok, "")
	root.End()
	if err := provider.Shutdown(ctx); err != nil { // sends what waits
		return err
	}

	id := "tr-" + root.SpanContext().TraceID().String()
	trace, err := c.Traces.Get(ctx, id, mlflow.TraceOptions{})
	if err != nil {
		return err
	}
	fmt.Println(trace.Info.ID, trace.Info.State)
	for _, s := range trace.Spans {
		fmt.Println(" ", s.Type, s.Name, s.Inputs, s.Outputs, s.Attributes["found"])
	}
	return nil
}

// headers tell MLflow who is calling and into which experiment the spans go.
func headers(address, experiment string) map[string]string {
	h := map[string]string{"x-mlflow-experiment-id": experiment}
	if u, err := url.Parse(address); err == nil && u.User != nil {
		password, _ := u.User.Password()
		h["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return h
}
