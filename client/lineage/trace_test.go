package lineage

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/mlflow"
	"github.com/mlops-integration/mlops/rayserve"
)

func TestAGraphIsSortedAndMergesWhatItLearns(t *testing.T) {
	w := &walker{most: 3, nodes: map[string]*Node{}, edges: map[Edge]bool{}, gaps: map[Gap]bool{}, walked: map[step]bool{}}
	run := Node{Kind: KindRun, Name: "r"}
	w.join(run, Node{Kind: KindVersion, Name: "m/1"}, "its run_id", forward)
	w.join(Node{Kind: KindData, Name: "d", Facts: map[string]string{"path": "", "remote": "s3://x"}}, run, "a dataset", back)
	w.add(Node{Kind: KindData, Name: "d", Facts: map[string]string{"path": "data"}, Gone: true})
	w.join(run, Node{Kind: KindVersion, Name: "m/2"}, "its run_id", forward)
	w.gap(run, "it names no commit")
	g := w.graph(run)
	require.True(t, g.Cut, "a fourth node is one too many")
	require.Equal(t, "run r", g.Start)
	require.Equal(t, []Node{
		{Kind: KindData, Name: "d", Facts: map[string]string{"path": "data", "remote": "s3://x"}, Gone: true}, {Kind: KindRun, Name: "r"}, {Kind: KindVersion, Name: "m/1"},
	}, g.Nodes)
	require.Equal(t, []Edge{{"data d", "run r", "a dataset"}, {"run r", "model_version m/1", "its run_id"}}, g.Edges)
	require.Equal(t, []Gap{{"run r", "it names no commit"}}, g.Gaps)
	require.Len(t, g.Of(KindRun), 1)

	var out strings.Builder
	require.NoError(t, g.WriteDOT(&out))
	require.Equal(t, `digraph lineage {
  rankdir=LR;
  node [shape=box];
  "data d" [label="data\nd", style=dashed];
  "run r" [label="run\nr"];
  "model_version m/1" [label="model_version\nm/1"];
  "data d" -> "run r";
  "run r" -> "model_version m/1";
}
`, out.String())
}

func TestALoggedModelIsFoundInTheSourceOfAVersion(t *testing.T) {
	for _, tt := range []struct {
		source, id, want string
	}{
		{"models:/m-22a0a1db", "", "m-22a0a1db"},
		{"models:/other/3", "m-7", "m-7"},
		{"models:/m-like-name/3", "", ""},
		{"mlflow-artifacts:/1/x", "", ""},
	} {
		require.Equal(t, tt.want, loggedModel(mlflow.ModelVersion{Source: tt.source, ModelID: tt.id}), tt.source)
	}
	name, number := splitVersion("team/sentiment/3")
	require.Equal(t, []string{"team/sentiment", "3"}, []string{name, number})
}

func TestTheLongestRouteOfTheHostAnswers(t *testing.T) {
	apps := []rayserve.App{
		{Name: "root", URL: "http://127.0.0.1:8001/"}, {Name: "short", URL: "http://127.0.0.1:8001/team-a/demo"},
		{Name: "long", URL: "http://127.0.0.1:8001/team-a/demo/classifier"}, {Name: "not served"},
	}
	for address, want := range map[string]string{
		"http://127.0.0.1:8001/team-a/demo/classifier/invocations": "long",
		"http://127.0.0.1:8001/team-a/demo":                        "short",
		"http://127.0.0.1:8001/team-a/demon":                       "root",
		"http://prod.example.com/team-a/demo":                      "",
	} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		a, ok := serving(apps, u)
		require.Equal(t, want, a.Name, address)
		require.Equal(t, want != "", ok)
	}
	require.Equal(t, "https://host/repo.git", public("https://user:token@host/repo.git"))
	require.Equal(t, "git@host:repo.git", public("git@host:repo.git"))
}
