package mlflow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/mlflow"
)

func ExampleClient_Do() {
	var info struct {
		Store string `json:"store_type"`
	}
	if err := c.Do(ctx, "GET", "/api/3.0/mlflow/server-info", nil, nil, &info); err != nil {
		log.Fatal(err)
	}
	fmt.Println(info.Store)
}

func ExampleClient_MetricHistories() {
	for m, err := range c.MetricHistories(ctx, []string{"run1", "run2"}, "loss") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.RunID, m.Step, m.Value)
	}
}

func ExampleClient_LogRunMetric() {
	// Judged a day later: one more number for a run that has ended.
	if err := c.LogRunMetric(ctx, "run1", mlflow.Metric{Key: "accepted", Value: 1}); err != nil {
		log.Fatal(err)
	}
}

func ExampleLoggedModelsService_All() {
	best := mlflow.LoggedModelQuery{Experiments: []string{"1"}, Filter: "metrics.acc > 0.9", OrderBy: []mlflow.LoggedModelSort{{Field: "metrics.acc"}}}
	for m, err := range c.LoggedModels.All(ctx, best) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.ID, m.Params["depth"])
	}
}

func ExampleModelsService_CopyVersion() {
	v, err := c.Models.CopyVersion(ctx, "dev.wine", "7", "prod.wine")
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Models.SetAlias(ctx, v.Name, "champion", v.Version); err != nil {
		log.Fatal(err)
	}
}

func ExampleTracesService_LogSpans() {
	begin := time.Now()
	span := mlflow.Span{
		TraceID: "tr-0af7651916cd43dd8448eb211c80319c", ID: "b7ad6b7169203331", Name: "answer", Type: "CHAIN",
		Start: begin, End: time.Now(), Status: mlflow.SpanOK,
		Inputs: map[string]any{"question": "why"}, Outputs: "because",
	}
	if err := c.Traces.LogSpans(ctx, "1", []mlflow.Span{span}, mlflow.SpanOptions{RunID: os.Getenv("MLFLOW_RUN_ID")}); err != nil {
		log.Fatal(err)
	}
}

func ExampleTracesService_All() {
	failed := mlflow.TraceQuery{Experiments: []string{"1"}, Filter: "status = 'ERROR'"}
	for t, err := range c.Traces.All(ctx, failed) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(t.ID, t.Duration, t.Request)
	}
}

func ExampleTracesService_CreateAssessment() {
	_, err := c.Traces.CreateAssessment(ctx, "tr-0af7651916cd43dd8448eb211c80319c", mlflow.Assessment{
		Name: "polite", SourceType: mlflow.SourceHuman, SourceID: "me", Feedback: &mlflow.Feedback{Value: true}, Rationale: "it says please",
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleTracesService_Metrics() {
	slow := mlflow.TraceMetricQuery{Experiments: []string{"1"}, Over: mlflow.TraceViewTraces, Metric: "latency",
		Aggregations: []mlflow.Aggregation{{Type: "PERCENTILE", Percentile: 99}}, Dimensions: []string{"trace_name"}}
	for m, err := range c.Traces.Metrics(ctx, slow) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(m.Dimensions["trace_name"], m.Values)
	}
}

func ExampleEvalDatasetsService_UpsertRecords() {
	d, err := c.EvalDatasets.Create(ctx, "questions", mlflow.EvalDatasetOptions{Experiments: []string{"1"}})
	if err != nil {
		log.Fatal(err)
	}
	n, err := c.EvalDatasets.UpsertRecords(ctx, d.ID, mlflow.EvalRecord{
		Inputs: map[string]any{"question": "1+1"}, Expectations: map[string]any{"answer": "2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n.Inserted, "new")
}

func ExamplePromptsService_Register() {
	v, err := c.Prompts.Register(ctx, mlflow.PromptVersion{Name: "greeting", Text: "Greet {{who}}.", Message: "shorter",
		ModelConfig: json.RawMessage(`{"temperature": 0.2}`)})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Models.SetAlias(ctx, v.Name, "production", v.Version); err != nil {
		log.Fatal(err)
	}
	v, err = c.Prompts.Load(ctx, "prompts:/greeting@production")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(v.Text)
}

func ExamplePromptVersion_Fill() {
	v := mlflow.PromptVersion{Name: "greeting", Version: "1", Text: "Greet {{ who }} in {{language}}."}
	fmt.Println(v.Variables())
	filled, err := v.Fill(map[string]string{"who": "Ada", "language": "English"})
	fmt.Println(filled.Text, err)
	_, err = v.Fill(nil)
	fmt.Println(err)
	// Output:
	// [language who]
	// Greet Ada in English. <nil>
	// mlflow: Fill: prompt prompts:/greeting/1: no value for "language"
}

func ExampleReadWebhook() {
	secret := mlops.Secret(os.Getenv("MLFLOW_HOOK_SECRET"))
	http.HandleFunc("POST /mlflow", func(w http.ResponseWriter, r *http.Request) {
		d, err := mlflow.ReadWebhook(r, secret)
		if err != nil {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		if d.Event == "model_version_alias.created" {
			log.Printf("deploy: %s", d.Data)
		}
	})
}

func ExampleWebhooksService_Create() {
	_, err := c.Webhooks.Create(ctx, "deploy", "https://deploy.example.com/mlflow", []mlflow.WebhookEvent{"model_version_alias.created"},
		mlflow.WebhookOptions{Secret: mlops.Secret(os.Getenv("MLFLOW_HOOK_SECRET"))})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleWorkspacesService_Create() {
	_, err := c.Workspaces.Create(ctx, mlflow.Workspace{Name: "vision", ArtifactRoot: "s3://models/vision"})
	switch {
	case errors.Is(err, mlops.ErrUnsupported):
		fmt.Println("start the server with --enable-workspaces")
	case err != nil && !errors.Is(err, mlops.ErrAlreadyExists):
		log.Fatal(err)
	}
}

func ExampleUsersService_Grant() {
	if _, err := c.Users.Create(ctx, "ada", mlops.Secret(os.Getenv("ADAS_PASSWORD"))); err != nil {
		log.Fatal(err)
	}
	if err := c.Users.Grant(ctx, "ada", mlflow.Grant{Type: "experiment", ID: "1", Permission: mlflow.PermissionEdit}); err != nil {
		log.Fatal(err)
	}
}

func ExampleRolesService_Assign() {
	role, err := c.Roles.Create(ctx, "default", "readers", "may look at everything")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Roles.AddPermission(ctx, role.ID, mlflow.Grant{Type: "experiment", ID: "*", Permission: mlflow.PermissionRead}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Roles.Assign(ctx, "ada", role.ID); err != nil {
		log.Fatal(err)
	}
}
