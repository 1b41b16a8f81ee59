package mlflow

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/mlops-integration/mlops"
)

// MLflow keeps a prompt as a registered model with a tag, and the text of each
// version in a tag of a model version. What is written here is what Python's
// mlflow.genai.register_prompt writes, and is read by its load_prompt.
const (
	promptTag         = "mlflow.prompt.is_prompt"
	promptTextTag     = "mlflow.prompt.text"
	promptTypeTag     = "_mlflow_prompt_type"
	promptFormatTag   = "_mlflow_prompt_response_format"
	promptConfigTag   = "_mlflow_prompt_model_config"
	promptExperiments = "_mlflow_experiment_ids"
	promptSource      = "dummy-source" // versions need one; the server takes no other from prompts
	maxPromptText     = 100_000
)

// Prompt is a name under which versions of a prompt are kept.
type Prompt struct {
	Name        string
	Description string
	Tags        Tags
	Aliases     map[string]string // alias to version
	Experiments []string          // IDs of those it is shown with
	Created     time.Time
	Updated     time.Time
}

// PromptMessage is one message of a chat prompt.
type PromptMessage struct {
	Role    string `json:"role"` // "system", "user", "assistant"
	Content string `json:"content"`
}

// PromptVersion is one version of a prompt: a Text, or a Chat.
type PromptVersion struct {
	Name    string
	Version string
	Text    string          // with {{variables}}; empty for a chat
	Chat    []PromptMessage // nil for a text
	Message string          // what changed, as of a commit

	ResponseFormat json.RawMessage // JSON schema of what should come out; may be nil
	ModelConfig    json.RawMessage // {"model_name": …, "temperature": …}; may be nil

	Tags    Tags
	Aliases []string
	User    string
	Created time.Time
	Updated time.Time
}

// URI names the version as Python does, "prompts:/greeting/3".
func (v PromptVersion) URI() string { return "prompts:/" + v.Name + "/" + v.Version }

// variable finds what MLflow fills in.
var variable = regexp.MustCompile(`\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*)\s*\}\}`)

// Variables returns the names in double braces, in alphabetical order.
func (v PromptVersion) Variables() []string {
	set := map[string]bool{}
	for _, text := range v.texts() {
		for _, m := range variable.FindAllStringSubmatch(text, -1) {
			set[m[1]] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

func (v PromptVersion) texts() []string {
	out := []string{v.Text}
	for _, m := range v.Chat {
		out = append(out, m.Content)
	}
	return out
}

// Fill returns v with its variables replaced. The error matches
// [mlops.ErrInvalid] if one has no value. Values are not looked into: what they
// hold in double braces stays. Control flow of Jinja, {% if %}, is left alone.
func (v PromptVersion) Fill(values map[string]string) (PromptVersion, error) {
	for _, name := range v.Variables() {
		if _, ok := values[name]; !ok {
			return v, invalid("Fill", "prompt %s: no value for %q", v.URI(), name)
		}
	}
	fill := func(text string) string {
		return variable.ReplaceAllStringFunc(text, func(m string) string {
			return values[variable.FindStringSubmatch(m)[1]]
		})
	}
	v.Text, v.Chat = fill(v.Text), slices.Clone(v.Chat)
	for i := range v.Chat {
		v.Chat[i].Content = fill(v.Chat[i].Content)
	}
	return v, nil
}

// promptOf reads a prompt from its registered model.
func promptOf(m Model) Prompt {
	p := Prompt{Name: m.Name, Description: m.Description, Aliases: m.Aliases, Created: m.Created, Updated: m.Updated, Tags: Tags{}}
	for k, v := range m.Tags {
		switch k {
		case promptTag, createTag:
		case promptExperiments:
			p.Experiments = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
		default:
			p.Tags[k] = v
		}
	}
	return p
}

// promptVersionOf reads a version of a prompt from its model version.
func promptVersionOf(op string, m ModelVersion) (PromptVersion, error) {
	v := PromptVersion{Name: m.Name, Version: m.Version, Message: m.Description, Aliases: m.Aliases, User: m.User, Created: m.Created, Updated: m.Updated, Tags: Tags{}}
	text, ok := m.Tags[promptTextTag]
	if !ok {
		return v, invalid(op, "%s is a model, not a prompt", m.Name)
	}
	for k, t := range m.Tags {
		switch k {
		case promptTag, promptTypeTag, promptTextTag, versionTag:
		case promptFormatTag:
			v.ResponseFormat = json.RawMessage(t)
		case promptConfigTag:
			v.ModelConfig = json.RawMessage(t)
		default:
			v.Tags[k] = t
		}
	}
	if m.Tags[promptTypeTag] != "chat" {
		v.Text = text
		return v, nil
	}
	if err := json.Unmarshal([]byte(text), &v.Chat); err != nil {
		return v, invalid(op, "version %s of prompt %s is not a chat: %v", m.Version, m.Name, err)
	}
	return v, nil
}

// promptName is what prompts may be called.
var promptName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)

// Register makes the next version of a prompt from v: its Name and Text or
// Chat, and what else is set of Message, Tags, ResponseFormat and ModelConfig.
// The name is registered if need be. As with Python's register_prompt, Tags are
// set on the version and on the prompt. An answer that got lost does not lead to
// a second version.
//
// The error matches [mlops.ErrAlreadyExists] if a model has the name.
//
// MLflow REST: POST /api/2.0/mlflow/model-versions/create
func (s PromptsService) Register(ctx context.Context, v PromptVersion) (PromptVersion, error) {
	const op = "Prompts.Register"
	tags, err := v.wire(op)
	if err != nil {
		return PromptVersion{}, err
	}
	all := Tags{promptTag: "true"}
	maps.Copy(all, v.Tags)
	_, err = s.models().Create(ctx, v.Name, ModelOptions{Description: v.Message, Tags: all})
	if errors.Is(err, mlops.ErrAlreadyExists) {
		if _, err = s.Get(ctx, v.Name); errors.Is(err, mlops.ErrInvalid) {
			return PromptVersion{}, &mlops.Error{Kind: mlops.ErrAlreadyExists, Service: "mlflow", Op: op, Cause: err, Message: "a model has the name " + v.Name}
		}
		for _, k := range slices.Sorted(maps.Keys(v.Tags)) {
			if err == nil {
				err = s.models().SetTag(ctx, v.Name, k, v.Tags[k])
			}
		}
	}
	if err != nil {
		return PromptVersion{}, err
	}
	m, err := s.models().CreateVersion(ctx, v.Name, promptSource, ModelVersionOptions{Tags: tags, Description: v.Message})
	if err != nil {
		return PromptVersion{}, err
	}
	return promptVersionOf(op, m)
}

// wire checks a prompt that is to be written, and puts it into tags.
func (v PromptVersion) wire(op string) (Tags, error) {
	tags := Tags{}
	maps.Copy(tags, v.Tags)
	tags[promptTag] = "true"
	switch {
	case !promptName.MatchString(v.Name):
		return nil, invalid(op, "prompt %q: names are made of letters, digits, hyphens, underscores and dots", v.Name)
	case (v.Text == "") == (len(v.Chat) == 0):
		return nil, invalid(op, "prompt %q: want a Text or a Chat", v.Name)
	case v.Text != "":
		tags[promptTypeTag], tags[promptTextTag] = "text", v.Text
	default:
		b, err := json.Marshal(v.Chat)
		if err != nil {
			return nil, err
		}
		tags[promptTypeTag], tags[promptTextTag] = "chat", string(b)
	}
	if err := checkValue(op, "prompt", v.Name, tags[promptTextTag], maxPromptText); err != nil {
		return nil, err
	}
	if len(v.ResponseFormat) > 0 {
		tags[promptFormatTag] = string(v.ResponseFormat)
	}
	if len(v.ModelConfig) > 0 {
		tags[promptConfigTag] = string(v.ModelConfig)
	}
	return tags, nil
}

// Get returns a prompt without its versions. The error matches
// [mlops.ErrInvalid] if the name is that of a model.
//
// MLflow REST: GET /api/2.0/mlflow/registered-models/get
func (s PromptsService) Get(ctx context.Context, name string) (Prompt, error) {
	m, err := model(get[modelReply](ctx, s.c, "Prompts.Get", "registered-models/get", url.Values{"name": {name}}))
	if err != nil {
		return Prompt{}, err
	}
	if m.Tags[promptTag] != "true" {
		return Prompt{}, invalid("Prompts.Get", "%s is a model, not a prompt", name)
	}
	return promptOf(m), nil
}

// Load returns a version of a prompt by its address: "prompts:/greeting/3",
// "prompts:/greeting@production", "prompts:/greeting@latest", and the same
// without "prompts:/"; a bare name is the newest version. Aliases are set and
// removed by [ModelsService.SetAlias] and [ModelsService.DeleteAlias].
//
// MLflow REST: GET /api/2.0/mlflow/model-versions/get
func (s PromptsService) Load(ctx context.Context, address string) (PromptVersion, error) {
	const op = "Prompts.Load"
	name, v, isVersion := strings.Cut(strings.TrimLeft(strings.TrimPrefix(address, "prompts:"), "/"), "/")
	name, alias, isAlias := strings.Cut(name, "@")
	if !promptName.MatchString(name) || (isVersion && (isAlias || v == "" || strings.Trim(v, "0123456789") != "")) || (isAlias && alias == "") {
		return PromptVersion{}, invalid(op, "prompt %q: want prompts:/name/version or prompts:/name@alias", address)
	}
	var m ModelVersion
	var err error
	switch {
	case isVersion:
		m, err = s.models().Version(ctx, name, v)
	case isAlias && alias != "latest":
		m, err = s.models().VersionByAlias(ctx, name, alias)
	default:
		return s.newest(ctx, name)
	}
	if err != nil {
		return PromptVersion{}, err
	}
	return promptVersionOf(op, m)
}

func (s PromptsService) newest(ctx context.Context, name string) (PromptVersion, error) {
	if _, err := s.Get(ctx, name); err != nil {
		return PromptVersion{}, err
	}
	for v, err := range s.Versions(ctx, name) {
		return v, err
	}
	return PromptVersion{}, gone("Prompts.Load", "prompt %s has no versions", name)
}

// PromptQuery selects prompts. The zero value selects all.
type PromptQuery struct {
	Filter     string // "name LIKE 'greet%' AND tags.team = 'x'"
	Experiment string // ID: those shown with this experiment
}

// All lists the prompts that q selects. They are in the list of models too,
// by [ModelsService.All], unless its filter leaves them out.
//
// MLflow REST: GET /api/2.0/mlflow/registered-models/search
func (s PromptsService) All(ctx context.Context, q PromptQuery) iter.Seq2[Prompt, error] {
	filter := "tags.`" + promptTag + "` = 'true'"
	if q.Experiment != "" {
		filter += " AND tags.`" + promptExperiments + "` LIKE '%," + strings.ReplaceAll(q.Experiment, "'", "") + ",%'"
	}
	if q.Filter != "" {
		filter = q.Filter + " AND " + filter
	}
	return func(yield func(Prompt, error) bool) {
		for m, err := range s.models().All(ctx, ModelQuery{Filter: filter}) {
			if !yield(promptOf(m), err) || err != nil {
				return
			}
		}
	}
}

// Versions lists the versions of a prompt, newest first, without their
// aliases, which MLflow does not tell in lists.
//
// MLflow REST: GET /api/2.0/mlflow/model-versions/search
func (s PromptsService) Versions(ctx context.Context, name string) iter.Seq2[PromptVersion, error] {
	return func(yield func(PromptVersion, error) bool) {
		if !promptName.MatchString(name) {
			yield(PromptVersion{}, invalid("Prompts.Versions", "prompt %q: no prompt has such a name", name))
			return
		}
		q := ModelQuery{Filter: "name = '" + name + "' AND tags.`" + promptTag + "` = 'true'", OrderBy: []string{"version_number DESC"}}
		for m, err := range s.models().Versions(ctx, q) {
			v := PromptVersion{}
			if err == nil {
				v, err = promptVersionOf("Prompts.Versions", m)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Show shows a prompt with an experiment, as Python's register_prompt does
// with the experiment that is active.
//
// MLflow REST: POST /api/2.0/mlflow/registered-models/set-tag
func (s PromptsService) Show(ctx context.Context, name, experiment string) error {
	p, err := s.Get(ctx, name)
	if err != nil || slices.Contains(p.Experiments, experiment) {
		return err
	}
	return s.models().SetTag(ctx, name, promptExperiments, ","+strings.Join(append(p.Experiments, experiment), ",")+",")
}
