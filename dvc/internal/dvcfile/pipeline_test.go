package dvcfile

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/dvc/internal/object"
)

func lockOf(outs ...string) string {
	text := "schema: '2.0'\nstages:\n"
	for _, o := range outs {
		stage, p, _ := strings.Cut(o, "=")
		text += "  " + stage + ":\n    cmd: x\n    outs:\n    - path: " + p + "\n      hash: md5\n      md5: " + strings.Repeat("a", 32) + "\n"
	}
	return text
}

func TestOutputsOfStagesHaveTheFlagsOfTheirDVCYAML(t *testing.T) {
	for _, tt := range []struct{ name, yaml, lock, want string }{
		{"no lock", "stages: {a: {cmd: x, outs: [o]}}", "", "a:s/o none"},
		{"not in dvc.yaml", "stages: {a: {cmd: x}}", lockOf("a=o"), ""},
		{"wdir", "stages: {a: {cmd: x, wdir: .., outs: [o]}}", lockOf("a=o"), "a:o"},
		{"flags", "stages: {a: {cmd: x, outs: [{o: {cache: false}}]}}", lockOf("a=o"), "a:s/o uncached"},
		{"metric", "stages: {a: {cmd: x, metrics: [{o: {push: false}}]}}", lockOf("a=o"), "a:s/o unpushed"},
		{"plots", "stages: {a: {cmd: x, plots: [{o: [{x: a, remote: r}, {x: b}]}]}}", lockOf("a=o"), "a:s/o @r"},
		{"outside, only watched", "stages: {a: {cmd: x, outs: [{s3://b/o: {cache: false}}, {/abs: {cache: false}}]}}", lockOf("a=s3://b/o"), ""},
		{"a template", "stages: {a: {cmd: x, outs: ['${x}.bin']}}", lockOf("a=big.bin"), "a:s/big.bin"},
		{"a template that is not locked", "stages: {a: {cmd: x, outs: ['${x}.bin']}}", "", ""},
		{"a template beside names", "stages: {a: {cmd: x, outs: [{o: {cache: false}}, '${x}']}}", lockOf("a=o"), "a:s/o uncached"},
		{"foreach", "stages: {a: {foreach: [1, b], do: {cmd: x, outs: ['o-${item}']}}}", lockOf("a@1=o-1", "a@b=o-b", "a@gone=o-gone"), "a@1:s/o-1 a@b:s/o-b"},
		{"foreach of a mapping", "stages: {a: {foreach: {k: {v: 1}}, do: {cmd: x, outs: ['o-${key}']}}}", lockOf("a@k=o-k", "a@l=o-l"), "a@k:s/o-k"},
		{"foreach of mappings", "stages: {a: {foreach: [{v: 1}, {v: 2}], do: {cmd: x, outs: ['o-${item.v}']}}}", lockOf("a@0=o-1", "a@1=o-2", "a@2=o-3"), "a@0:s/o-1 a@1:s/o-2"},
		{"foreach of a template", "stages: {a: {foreach: '${l}', do: {cmd: x, outs: ['o-${item}']}}}", lockOf("a@z=o-z"), "a@z:s/o-z"},
		{"matrix", "stages: {a: {matrix: {m: [1]}, cmd: x, outs: ['o-${item.m}']}}", lockOf("a@1=o-1"), "a@1:s/o-1"},
		{"anchors", "x: &x [o]\nstages: {a: {cmd: x, outs: *x}}", lockOf("a=o"), "a:s/o"},
		{"2.x", "stages: {a: {cmd: x, outs: [o]}}", strings.ReplaceAll(lockOf("a=o"), "      hash: md5\n", ""), "a:s/o legacy"},
		{"twice in one stage", "stages: {a: {cmd: x, outs: [o], metrics: [o]}}", lockOf("a=o"), "a:s/o"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files, err := ParsePipeline("s/dvc.yaml", []byte(tt.yaml), []byte(tt.lock))
			require.NoError(t, err)
			var got []string
			for _, f := range files {
				for _, o := range f.Outs {
					s := f.Stage + ":" + o.Path
					for _, flag := range []struct {
						is   bool
						name string
					}{{o.ID == "", " none"}, {!o.Cache, " uncached"}, {!o.Push, " unpushed"}, {o.Remote != "", " @" + o.Remote}, {o.ID.Legacy(), " legacy"}} {
						if flag.is {
							s += flag.name
						}
					}
					got = append(got, s)
				}
			}
			require.Equal(t, tt.want, strings.Join(got, " "))
		})
	}
}

func TestUnsafePipelinesAreRefused(t *testing.T) {
	const outs = "stages: {a: {cmd: x, outs: [o]}}"
	for _, tt := range []struct {
		name, yaml, lock string
		kind             error
	}{
		{"out above the repository", "stages: {a: {cmd: x, outs: [../../o]}}", "", mlops.ErrInvalid},
		{"absolute out", "stages: {a: {cmd: x, outs: [/o]}}", "", mlops.ErrInvalid},
		{"git's folder", "stages: {a: {cmd: x, wdir: .., outs: [.git/hooks/x]}}", "", mlops.ErrInvalid},
		{"a template that became a path out", "stages: {a: {cmd: x, outs: ['${x}']}}", lockOf("a=../../o"), mlops.ErrInvalid},
		{"wdir is a template", "stages: {a: {cmd: x, wdir: '${x}', outs: [o]}}", "", mlops.ErrUnsupported},
		{"hash", outs, strings.ReplaceAll(lockOf("a=o"), "aaaa", "../"), mlops.ErrInvalid},
		{"lock with an alias", outs, "schema: '2.0'\nx: &x 1\ny: *x\n", mlops.ErrInvalid},
		{"lock of an unknown schema", outs, "schema: '3.0'\n", mlops.ErrUnsupported},
		{"lock of no schema", outs, "a: {cmd: x}\n", mlops.ErrUnsupported},
		{"key twice in lock", outs, "schema: '2.0'\nschema: '2.0'\n", mlops.ErrInvalid},
		{"not yaml", "stages: [", "", mlops.ErrInvalid},
		{"flag of another type", "stages: {a: {cmd: x, outs: [{o: {cache: maybe}}]}}", "", mlops.ErrInvalid},
		{"output of another type", "stages: {a: {cmd: x, outs: [[o]]}}", "", mlops.ErrInvalid},
		{"anchors without end", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nstages: {a: {cmd: x, outs: [*e,*e,*e,*e,*e,*e,*e,*e]}}", "", mlops.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParsePipeline("s/dvc.yaml", []byte(tt.yaml), []byte(tt.lock))
			require.ErrorIs(t, err, tt.kind)
		})
	}
}

func FuzzPipeline(f *testing.F) {
	f.Add("stages: {a: {cmd: x, outs: [o, {p: {cache: false}}]}}", lockOf("a=o"))
	f.Add("stages: {a: {foreach: [1], do: {cmd: x, plots: [{'${item}': [{x: y}]}]}}}", lockOf("a@1=1"))
	f.Add("a: &a [x]\nstages: {a: {wdir: .., outs: *a, metrics: 3}}", "schema: '2.0'")
	f.Fuzz(func(t *testing.T, text, lock string) {
		files, err := ParsePipeline("s/dvc.yaml", []byte(text), []byte(lock))
		if err != nil {
			return
		}
		for _, d := range files {
			for _, o := range d.Outs {
				if why := object.UnsafePath(o.Path); why != "" {
					t.Fatalf("output %q %s", o.Path, why)
				}
			}
		}
	})
}

func TestTwoTemplatesWithOtherFlagsAreNotGuessedAt(t *testing.T) {
	files, err := ParsePipeline("dvc.yaml", []byte("stages: {a: {cmd: x, outs: ['${x}.bin', {'${y}.bin': {push: false}}]}}"), []byte(lockOf("a=big.bin")))
	require.NoError(t, err)
	require.NotEmpty(t, files[0].Outs[0].Odd)
}
