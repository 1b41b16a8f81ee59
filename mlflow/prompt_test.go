package mlflow

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestPromptsAreReadAndWrittenAsPythonDoes(t *testing.T) {
	s, c := connect(t)
	since(t, s, "3.0", "mlflow.genai")
	ctx := t.Context()
	name, other, exp := s.Name("greeting"), s.Name("model"), s.Name("exp")
	id, err := c.CreateExperiment(ctx, exp, ExperimentOptions{})
	require.NoError(t, err)
	one, err := c.Prompts.Register(ctx, PromptVersion{Name: name, Text: "Greet {{ who }} in {{lang}}.", Message: "first", Tags: Tags{"team": "x"},
		ModelConfig: json.RawMessage(`{"model_name": "m", "temperature": 0.5}`)})
	require.NoError(t, err)
	require.Equal(t, "1", one.Version)
	require.Equal(t, []string{"lang", "who"}, one.Variables())
	two, err := c.Prompts.Register(ctx, PromptVersion{Name: name, Chat: []PromptMessage{{"system", "Be {{mood}}."}, {"user", "{{question}}"}}, Message: "a chat",
		Tags: Tags{"team": "y"}, ResponseFormat: json.RawMessage(`{"type": "object"}`)})
	require.NoError(t, err)
	require.Equal(t, "2", two.Version)
	require.NoError(t, c.Models.SetAlias(ctx, name, "production", "1"))
	require.NoError(t, c.Prompts.Show(ctx, name, id))
	require.NoError(t, c.Prompts.Show(ctx, name, id), "once is enough")

	if s.Live {
		require.Equal(t, "1 text Greet {{ who }} in {{lang}}. first {'model_name': 'm', 'temperature': 0.5} x|"+
			"2 chat [{'role': 'system', 'content': 'Be {{mood}}.'}, {'role': 'user', 'content': '{{question}}'}] {'type': 'object'}|3",
			runPython(t, s, `
import sys, mlflow
name, exp = sys.argv[1:]
a = mlflow.genai.load_prompt(f"prompts:/{name}@production")
b = mlflow.genai.load_prompt(name, version=2)
mlflow.set_experiment(exp)
c = mlflow.genai.register_prompt(name=name, template="From {{python}}", commit_message="third", tags={"by": "python"}, response_format={"type": "string"}, model_config={"model_name": "n", "top_k": 3})
print(a.version, a._prompt_type, a.template, a.commit_message, a.model_config, a.tags["team"], end="|")
print(b.version, b._prompt_type, b.template, b.response_format, end="|")
print(c.version)`, name, exp))
	}
	got, err := c.Prompts.Load(ctx, "prompts:/"+name+"@production")
	require.NoError(t, err)
	require.Equal(t, "Greet {{ who }} in {{lang}}.", got.Text)
	require.Equal(t, Tags{"team": "x"}, got.Tags)
	require.Equal(t, []string{"production"}, got.Aliases)
	got, err = c.Prompts.Load(ctx, name+"/2")
	require.NoError(t, err)
	require.Equal(t, []PromptMessage{{"system", "Be {{mood}}."}, {"user", "{{question}}"}}, got.Chat)
	require.Empty(t, got.Text)
	require.JSONEq(t, `{"type": "object"}`, string(got.ResponseFormat))
	require.Equal(t, "prompts:/"+name+"/2", got.URI())
	got, err = c.Prompts.Load(ctx, name)
	require.NoError(t, err)
	require.Equal(t, "3", got.Version, "what Python registered")
	require.Equal(t, "From {{python}}", got.Text)
	require.Equal(t, "third", got.Message)
	require.Equal(t, Tags{"by": "python"}, got.Tags)
	require.JSONEq(t, `{"type": "string"}`, string(got.ResponseFormat))
	require.JSONEq(t, `{"model_name": "n", "top_k": 3}`, string(got.ModelConfig))

	p, err := c.Prompts.Get(ctx, name)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"production": "1"}, p.Aliases)
	require.Contains(t, p.Experiments, id) // Python's load_prompt adds the one it works in
	require.Equal(t, "y", p.Tags["team"])
	list, err := mlops.Collect(c.Prompts.All(ctx, PromptQuery{Experiment: id, Filter: "name = '" + name + "'"}))
	require.NoError(t, err)
	require.Len(t, list, 1)
	versions, err := mlops.Collect(c.Prompts.Versions(ctx, name))
	require.NoError(t, err)
	require.Len(t, versions, 3)

	trace, err := c.Traces.Start(ctx, TraceInfo{ExperimentID: id, Time: time.UnixMilli(1_700_000_000_000), State: TraceOK})
	require.NoError(t, err)
	require.NoError(t, c.Traces.LinkPrompts(ctx, trace.ID, PromptRef{name, "1"}))
	with, err := mlops.Collect(c.Traces.All(ctx, TraceQuery{Experiments: []string{id}, Filter: "prompt = '" + name + "/1'"}))
	require.NoError(t, err)
	require.Len(t, with, 1)
	require.Equal(t, trace.ID, with[0].ID)

	_, err = c.Models.Create(ctx, other, ModelOptions{})
	require.NoError(t, err)
	_, err = c.Prompts.Register(ctx, PromptVersion{Name: other, Text: "x"})
	is(t, err, mlops.ErrAlreadyExists)
	_, err = c.Prompts.Load(ctx, other)
	is(t, err, mlops.ErrInvalid)
	_, err = c.Prompts.Load(ctx, name+"/99")
	is(t, err, mlops.ErrNotFound)
	require.NoError(t, c.Models.Delete(ctx, other))
	require.NoError(t, c.Models.Delete(ctx, name))
}

func TestPromptsThatCannotBeAreNotSent(t *testing.T) {
	c, err := New(Options{URL: "http://127.0.0.1:1", Tries: 1})
	require.NoError(t, err)
	for name, v := range map[string]PromptVersion{
		"name":    {Name: "a b", Text: "x"},
		"nothing": {Name: "a"},
		"both":    {Name: "a", Text: "x", Chat: []PromptMessage{{"user", "y"}}},
		"long":    {Name: "a", Text: strings.Repeat("x", maxPromptText+1)},
	} {
		_, err := c.Prompts.Register(t.Context(), v)
		require.ErrorIs(t, err, mlops.ErrInvalid, name)
	}
	for _, address := range []string{"", "prompts:/", "prompts:/a/x", "prompts:/a/", "prompts:/a@", "prompts:/a@b/1", "a'b"} {
		_, err := c.Prompts.Load(t.Context(), address)
		require.ErrorIs(t, err, mlops.ErrInvalid, address)
	}
}

func TestVariablesAreFilledOnce(t *testing.T) {
	v := PromptVersion{Name: "a", Version: "1", Text: "{{ a }} {{b.c}} {{1}} {% if a %}", Chat: []PromptMessage{{"user", "{{a}}"}}}
	got, err := v.Fill(map[string]string{"a": "{{b.c}}", "b.c": "$1"})
	require.NoError(t, err)
	require.Equal(t, "{{b.c}} $1 {{1}} {% if a %}", got.Text)
	require.Equal(t, "{{b.c}}", got.Chat[0].Content)
	require.Equal(t, "{{a}}", v.Chat[0].Content, "the version itself stays as it was")
	_, err = v.Fill(map[string]string{"a": "x"})
	require.ErrorContains(t, err, `no value for "b.c"`)
}
