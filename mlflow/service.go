package mlflow

// The services hang on a [Client], which makes them: their zero values reach no
// server.
type (
	// ModelsService is the model registry: registered models, their versions
	// and aliases.
	ModelsService struct{ c *Client }
	// LoggedModelsService is what runs logged as models (MLflow 3).
	LoggedModelsService struct{ c *Client }
	// TracesService is traces, their spans and assessments.
	TracesService struct{ c *Client }
	// PromptsService is the prompt registry.
	PromptsService struct{ c *Client }
	// ScorersService is the scorers of experiments.
	ScorersService struct{ c *Client }
	// EvalDatasetsService is evaluation datasets and their records.
	EvalDatasetsService struct{ c *Client }
	// UsersService is the accounts of a server with basic-auth, and what each
	// may do.
	UsersService struct{ c *Client }
	// RolesService is roles, their permissions, and the users that have them.
	RolesService struct{ c *Client }
	// WebhooksService is the addresses that the server calls.
	WebhooksService struct{ c *Client }
	// WorkspacesService is the workspaces of a server that has them enabled.
	WorkspacesService struct{ c *Client }
)

// models is the registry that keeps the prompts.
func (s PromptsService) models() ModelsService { return ModelsService(s) }

// bind points the parts of c at c.
func (c *Client) bind() {
	c.Models, c.LoggedModels = ModelsService{c}, LoggedModelsService{c}
	c.Traces, c.Prompts, c.Scorers, c.EvalDatasets = TracesService{c}, PromptsService{c}, ScorersService{c}, EvalDatasetsService{c}
	c.Users, c.Roles, c.Webhooks, c.Workspaces = UsersService{c}, RolesService{c}, WebhooksService{c}, WorkspacesService{c}
	c.art = &artifacts{c, c.art.artifactState}
	c.out = &outbox{c, c.out.opt, c.out.openRuns}
}
