package client

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheNamesOfModelsAreReadableAsDeployments(t *testing.T) {
	for model, want := range map[string]string{
		"lin": "lin", "srv-lin": "srv-lin", "SRV-LIN": "SRV-LIN", "fraud_model": "fraud_model",
		"Fraud Model": "Fraud~20Model", "a.b": "a~2Eb", "a~20b": "a~7E20b", "..": "~2E~2E", "größe": "gr~C3~B6~C3~9Fe",
	} {
		require.Equal(t, want, servedName(model, 100), model)
	}
}

func TestTwoModelsNeverShareADeployment(t *testing.T) {
	seen := map[string]string{}
	check := func(p *Project, model string) {
		app := p.appPrefix() + servedName(model, mostName-len(p.appPrefix()))
		who := p.join("/") + " " + model
		if other, ok := seen[app]; ok && other != who {
			t.Fatalf("%q and %q are both %s", other, who, app)
		}
		seen[app] = who
		require.LessOrEqual(t, len(app), mostName)
		require.Regexp(t, `^[a-z0-9][A-Za-z0-9._~-]*$`, app)
	}
	named := func(name, namespace string) *Project {
		return &Project{Client: &Client{Config: Config{Namespace: namespace}}, Name: name}
	}
	others := []*Project{named("demo", ""), named("x", ""), named("x", "demo")}
	long := strings.Repeat("n", 300)
	for _, p := range others {
		for _, m := range []string{
			"fraud_model", "Fraud Model", "fraud model", "fraud-model", "SRV-LIN", "srv-lin", "Srv-Lin", "demo.x", "x", "x.x", "x~2Ex", "x~2ex",
			"~", "~~", "~7E", " ", "  ", "\t", "é", "e\u0301", "\xff", "a+b", "a b", "a%20b", "A", "a", "_", "-", long, long + "n", long + "N", "~x", "~x0",
		} {
			check(p, m)
		}
	}
	const letters = "aAbB-_.~ 20Ex7é"
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var b strings.Builder
		for range 1 + rnd.IntN(6) {
			b.WriteByte(letters[rnd.IntN(len(letters))])
		}
		check(others[rnd.IntN(len(others))], b.String())
	}
}

func FuzzServedName(f *testing.F) {
	f.Add("a b", "a~20b")
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := servedName(a, 60), servedName(b, 60)
		if (x == y) != (a == b) {
			t.Errorf("%q is %q, %q is %q", a, x, b, y)
		}
	})
}

func TestADeploymentIsFoundAsItIsListed(t *testing.T) {
	p := &Project{Client: &Client{}, Name: "demo"}
	for name, want := range map[string]string{
		"lin": "demo.lin", "demo.lin": "demo.lin", "demo.Fraud~20Model": "demo.Fraud~20Model", "Fraud Model": "demo.Fraud~20Model",
		"demo.a b": "demo.demo~2Ea~20b", "x.lin": "demo.x~2Elin",
	} {
		require.Equal(t, want, p.app(name), name)
	}
}

func TestAProjectThatFromProjectDidNotOpenGivesErrors(t *testing.T) {
	for i, p := range []*Project{nil, {}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			ctx := t.Context()
			_, err := p.Deploy(ctx, "m@a", DeployOptions{})
			require.ErrorContains(t, err, "FromProject")
			require.ErrorContains(t, p.Undeploy(ctx, "m"), "FromProject")
			_, err = p.Predict(ctx, "m", nil)
			require.ErrorContains(t, err, "FromProject")
			for _, err := range p.Deployments(ctx) {
				require.ErrorContains(t, err, "FromProject")
			}
		})
	}
	home, dir := alone(t)
	p := open(t, home, dir)
	require.ErrorContains(t, p.Undeploy(t.Context(), ""), "which deployment")
	_, err := p.Predict(t.Context(), "", nil)
	require.Error(t, err)
	_, err = p.Deploy(t.Context(), "", DeployOptions{})
	require.ErrorContains(t, err, "name@alias")
}
