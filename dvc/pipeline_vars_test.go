package dvc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc"
)

// pipelines are dvc.yaml files, and what is wrong with them; "" is nothing.
var pipelines = []struct{ name, yaml, says string }{
	{"cmd", "stages: {t: {cmd: 'echo ${nope} > o', outs: [o]}}", "${nope} is neither"},
	{"outs", "stages: {t: {cmd: x, outs: ['${nope}']}}", "${nope}"},
	{"wdir", "stages: {t: {cmd: x, wdir: '${nope}', outs: [o]}}", "${nope}"},
	{"foreach", "stages: {t: {foreach: '${nope}', do: {cmd: 'x ${item}'}}}", "${nope}"},
	{"in do", "stages: {t: {foreach: [1], do: {cmd: 'x ${nope}'}}}", "${nope}"},
	{"matrix", "stages: {t: {matrix: {a: '${nope}'}, cmd: 'x ${item.a}'}}", "${nope}"},
	{"a part of params.yaml", "stages: {t: {cmd: 'x ${train.nope}'}}", "${train.nope}"},
	{"an index too high", "stages: {t: {cmd: 'x ${list[2]}'}}", "${list[2]}"},
	{"below a value", "stages: {t: {cmd: 'x ${train.lr.x}'}}", "${train.lr.x}"},
	{"a file of vars", "vars: [missing.yaml]\nstages: {t: {cmd: x}}", "missing.yaml does not exist"},
	{"a stage's vars", "stages: {t: {cmd: x, vars: [missing.yaml]}}", "missing.yaml does not exist"},
	{"a variable of another stage", "stages: {t: {cmd: x, vars: [{v: 1}]}, u: {cmd: 'x ${v}'}}", "${v}"},
	{"a flag's name", "stages: {t: {cmd: x, deps: [d], outs: [{'${nope}': {cache: false}}]}}", "${nope}"},
	{"no cmd", "stages: {t: {outs: [o]}}", "no cmd"},
	{"an unknown key", "stagess: {t: {cmd: x}}", `"stagess"`},
	{"an unknown key of a stage", "stages: {t: {cmd: x, outz: [o]}}", `"outz"`},
	{"an empty stage", "stages: {t: null}", "not a mapping"},
	{"stages as a list", "stages: [a]", "invalid"},
	{"do without foreach's keys", "stages: {t: {foreach: [1], do: {cmd: x}, outs: [o]}}", `"outs"`},

	{"params.yaml", "stages: {t: {cmd: 'x ${train.lr} ${ list[1] } ${list.0}'}}", ""},
	{"vars", "vars: [more.yaml, {w: {x: 1}}, 'more.json:j']\nstages: {t: {cmd: 'x ${m} ${w.x} ${j}', wdir: 'd'}}", ""},
	{"a merged variable", "vars: [{train: {n: 1}}]\nstages: {t: {cmd: 'x ${train.lr} ${train.n}'}}", ""},
	{"a stage's own", "stages: {t: {cmd: 'x ${v}', vars: [{v: 1}]}}", ""},
	{"of foreach", "stages: {t: {foreach: [{a: 1}], do: {cmd: 'x ${item.a}'}}, u: {foreach: '${train}', do: {cmd: 'x ${key} ${item}'}}}", ""},
	{"of matrix", "stages: {t: {matrix: {a: [1], b: '${list}'}, cmd: 'x ${item.a} ${key}'}}", ""},
	{"escaped", `stages: {t: {cmd: 'x \${nope}'}}`, ""},
	{"in a description", "stages: {t: {cmd: x, deps: [d], desc: about}}", ""},
	{"TOML", "vars: [v.toml]\nstages: {t: {cmd: 'x ${whatever}'}}", ""},
	{"all keys", "params: [p.yaml]\nmetrics: [m.json]\nplots: [p.csv]\nartifacts: {a: {path: o}}\nstages: {t: {cmd: [a, b], wdir: ., deps: [d], params: [train.lr], frozen: true, meta: {m: 1}, desc: d, always_changed: true, outs: [o], metrics: [m], plots: [p]}}", ""},
}

func pipelineRepo(t *testing.T, w *world, yaml string) (string, *dvc.Repo) {
	t.Helper()
	dir, r := w.repo()
	require.NoError(t, r.AddRemote(bg(t), "store", dir+"-store", dvc.AddRemoteOptions{Default: true}))
	write(t, dir, map[string]string{
		"dvc.yaml": yaml, "params.yaml": "train: {lr: 0.1}\nlist: [1, 2]\n", "more.yaml": "m: 1\n", "more.json": `{"j": 1, "k": 2}`, "v.toml": "whatever = 1\n", "d/x": "",
	})
	return dir, r
}

func TestAPipelineThatCannotBeResolvedIsAnError(t *testing.T) {
	for _, tt := range pipelines {
		t.Run(tt.name, func(t *testing.T) {
			_, r := pipelineRepo(t, newWorld(t), tt.yaml)
			_, pushed := r.Push(bg(t), dvc.PushOptions{})
			_, stated := r.Status(bg(t), dvc.StatusOptions{})
			if tt.says == "" {
				require.NoError(t, pushed)
				require.NoError(t, stated)
				return
			}
			for _, err := range []error{pushed, stated} {
				require.ErrorIs(t, err, mlops.ErrInvalid)
				require.ErrorContains(t, err, tt.says)
				require.ErrorContains(t, err, "dvc.yaml")
			}
		})
	}
}

func TestLivePipelinesThatCannotBeResolvedAreThoseOfDVC(t *testing.T) {
	w := newWorld(t)
	w.bin = realDVC(t)
	for _, tt := range pipelines {
		t.Run(tt.name, func(t *testing.T) {
			dir, _ := pipelineRepo(t, w, tt.yaml)
			_, err := w.try(dir, "push", "-q")
			require.Equal(t, tt.says == "", err == nil, "dvc: %v", err)
		})
	}
}
