package mlflow

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

// The values in the order of testdata/mlflow/pystring.py, which printed
// pystring.txt: str() of each, one a line, newlines escaped.
var pyValues = []any{
	1.0, 0.0, math.Copysign(0, -1), 1e16, 9999999999999998.0, 1e15, 123456789012345680.0, 1e-4, 1e-5, 0.00012345, 1e22, 1e100, 5e-324, math.MaxFloat64,
	0.1, 1.0 / 3, 100000.0, 1e6, 2.5e-8, -1.5, -1e-7, math.NaN(), math.Inf(1), math.Inf(-1),
	0, 1, -7, int64(math.MaxInt64), int64(math.MinInt64), uint64(math.MaxUint64),
	true, false, nil, "", "plain", "é", "it's",
	[]any{}, []any{1, "a"}, []float64{1, 1e-5}, []any{true, nil}, []string{"it's", `q"`, `b'"`, "n\nt\t", "back\\", "é", "\x00\x7f", "\u200b", "\u00a0", "😀"},
	map[string]any{}, map[string]any{"a": 1.0}, map[string]any{"a": []any{1}, "b": nil}, []any{[]any{1}, []any{}},
	[]byte("a'\x00\xff"), []byte(""), map[int]string{1: "x"}, []bool{true},
	time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC), json.Number("1.50"), [2]int{1, 2},
	float32(0.1), float32(16777216), 1e21, 123456.789, 4.35, 1e-323,
}

func TestParamsAreSpelledAsPythonSpellsThem(t *testing.T) {
	b, err := os.ReadFile("../testdata/mlflow/pystring.txt")
	require.NoError(t, err)
	want := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	require.Len(t, want, len(pyValues))
	for i, v := range pyValues {
		if got := PyString(v); got != want[i] {
			t.Errorf("value %d is spelled %q, Python spells %q: MLflow would refuse it as a change", i, got, want[i])
		}
	}
}

func TestMetricValuesAreEncodedAsTheServersParserWants(t *testing.T) {
	b, err := json.Marshal([]number{1.5, number(math.NaN()), number(math.Inf(1)), number(math.Inf(-1)), math.MaxFloat64})
	require.NoError(t, err)
	require.Equal(t, `[1.5,"NaN","Infinity","-Infinity",1.7976931348623157e+308]`, string(b))
}

func point(n int) []record {
	rs := make([]record, n)
	for i := range rs {
		rs[i] = record{kind: metricRecord, key: "m", step: int64(i)}
	}
	return rs
}

func text(k kind, key, value string) record { return record{kind: k, key: key, text: value} }

func TestBatchesStayWithinEveryLimit(t *testing.T) {
	params := func(n int, value string) (rs []record) {
		for i := range n {
			rs = append(rs, text(paramRecord, strings.Repeat("k", i+1), value))
		}
		return rs
	}
	for _, tt := range []struct {
		name string
		in   []record
		want int
	}{
		{"1000 metrics", point(2500), 1000},
		{"1000 in total", append(params(100, "v"), point(2000)...), 1000},
		{"100 params", params(150, "v"), 100},
		{"1 MB", params(100, strings.Repeat("\u2028", 6000)), 24},
		{"one param twice", []record{text(paramRecord, "a", "1"), text(paramRecord, "a", "2")}, 1},
		{"a param and a tag of one name", []record{text(paramRecord, "a", "1"), text(tagRecord, "a", "2")}, 2},
		{"artifacts side by side", []record{{kind: blobRecord, key: "a"}, {kind: fileRecord, key: "b"}, {kind: tagRecord}}, 2},
		{"one artifact twice", []record{{kind: blobRecord, key: "a"}, {kind: fileRecord, key: "a"}}, 1},
		{"an artifact after a metric", append(point(1), record{kind: blobRecord}), 1},
		{"an end goes alone", append(point(2), record{kind: endRecord}), 2},
		{"an end first", []record{{kind: endRecord}, {kind: tagRecord}}, 1},
	} {
		require.Equal(t, tt.want, batchSize(tt.in), tt.name)
	}
}

func TestErrorAnswersAreReadByCodeBeforeStatus(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   error
	}{
		{400, `{"error_code":"RESOURCE_ALREADY_EXISTS","message":"m"}`, mlops.ErrAlreadyExists},
		{500, `{"error_code":"FEATURE_DISABLED","message":"m"}`, mlops.ErrUnsupported},
		{500, `{"error_code":"INTERNAL_ERROR","message":"##### File 1/x #####\n[Errno 2] No such file or directory: '/a/1/x'"}`, mlops.ErrNotFound},
		{500, `{"error_code":"INTERNAL_ERROR","message":"##### File 1/x #####\nAn error occurred (404) when calling the HeadObject operation: Not Found"}`, mlops.ErrNotFound},
		{501, `{"error_code":"NOT_IMPLEMENTED","message":"m"}`, mlops.ErrUnsupported},
		{503, "Workspaces are not enabled on this server", mlops.ErrUnsupported},
		{503, `{"detail":"Artifact serving is disabled. Run with --serve-artifacts"}`, mlops.ErrUnsupported},
		{404, "<!doctype html><title>404 Not Found</title>", mlops.ErrUnsupported},
		{403, "Invalid Host header - possible DNS rebinding attack detected", mlops.ErrForbidden},
	} {
		e := decodeError(tt.status, "", []byte(tt.body))
		require.NotNil(t, e, tt.body)
		require.Equal(t, tt.want, e.Kind, tt.body)
	}
	require.Contains(t, decodeError(403, "", []byte("Invalid Host header")).Message, "--allowed-hosts")
	require.Nil(t, decodeError(503, "", []byte("<html>busy</html>")), "a proxy's page is not MLflow's answer")
}

func TestPlacesAreReadAsMLflowWritesThem(t *testing.T) {
	id := strings.Repeat("0a", 16)
	for in, want := range map[string]place{
		id:                            {scheme: "run", id: id},
		"runs:/" + id + "/a/b":        {scheme: "run", id: id, path: "a/b"},
		"mlflow-artifacts:/1/x":       {scheme: "proxy", path: "1/x"},
		"mlflow-artifacts://h:1/1/x":  {scheme: "proxy", path: "1/x"},
		"models:/wine/3":              {scheme: "version", id: "wine", version: "3"},
		"models:/wine@champion/a.txt": {scheme: "alias", id: "wine", version: "champion", path: "a.txt"},
		"models:/m-" + id:             {scheme: "model", id: "m-" + id},
		"models:/m-wine/1":            {scheme: "version", id: "m-wine", version: "1"},
	} {
		got, err := parsePlace(in, "h:1")
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "models:/wine", "runs:/", "runs:/a/../b", "mlflow-artifacts:/../x", "models:/@x"} {
		_, err := parsePlace(in, "h:1")
		require.ErrorIs(t, err, mlops.ErrInvalid, in)
	}
	for _, in := range []string{"s3://bucket/x", "mlflow-artifacts://other/x", "file:///etc/passwd"} {
		_, err := parsePlace(in, "h:1")
		require.ErrorIs(t, err, mlops.ErrUnsupported, in)
	}
}

func TestAModelIsPackagedFromItsEnvironment(t *testing.T) {
	dir, venv := t.TempDir(), t.TempDir()
	write(t, venv, "pyvenv.cfg", "version_info = 3.11.7\n")
	for _, p := range []string{"scikit_learn-1.9.1", "numpy-2.4.6", "skops-0.16.0", "cloudpickle-3.1.2"} {
		write(t, venv, "lib/python3.11/site-packages/"+p+".dist-info/METADATA", "")
	}
	write(t, dir, "model.skops", "x")
	m := ModelSpec{Flavors: []Flavor{SKLearn("model.skops")}, Venv: venv}
	p, err := newPackage(dir, m, "3.17.2")
	require.NoError(t, err)
	require.NoError(t, p.finish("r", LoggedModel{ID: "m-1"}))
	require.Equal(t, "mlflow==3.17.2\nnumpy==2.4.6\nscikit-learn==1.9.1\nskops==0.16.0\n", string(p.made["requirements.txt"]))
	require.Contains(t, string(p.made["MLmodel"]), "sklearn_version: 1.9.1")
	require.Equal(t, "MLmodel", p.order()[len(p.order())-1])

	for name, bad := range map[string]ModelSpec{
		"no flavor":      {},
		"no version":     {Flavors: m.Flavors},
		"no such file":   {Flavors: []Flavor{SKLearn("other.skops")}, Venv: venv},
		"an index":       {Flavors: m.Flavors, Requirements: []string{"--index-url x", "scikit-learn==1"}},
		"unknown format": {Flavors: []Flavor{SKLearnModel{File: "model.skops", Format: "zip"}}, Venv: venv},
		"untyped field":  {Flavors: m.Flavors, Venv: venv, Signature: &Signature{Inputs: []Field{{Name: "a"}}}},
	} {
		p, err := newPackage(dir, bad, "3.17.2")
		if err == nil {
			err = p.finish("r", LoggedModel{})
		}
		require.ErrorIs(t, err, mlops.ErrInvalid, name)
	}
	_, err = ReadEnvironment(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, mlops.ErrNotFound)
}

func FuzzDecodeError(f *testing.F) {
	f.Add(400, `{"error_code":"BAD_REQUEST","message":"m"}`)
	f.Add(503, `{"detail":[{"loc":["body"]}]}`)
	f.Add(404, "<html>")
	f.Fuzz(func(t *testing.T, status int, body string) {
		e := decodeError(status, "", []byte(body))
		if e == nil {
			return // the status decides
		}
		if !utf8.ValidString(e.Error()) {
			t.Errorf("%q is not UTF-8", e.Error())
		}
		if e.Code == "" && strings.TrimSpace(e.Message) == "" {
			t.Errorf("%q gives an error that says nothing", body)
		}
		var env struct {
			Code    any             `json:"error_code"`
			Message any             `json:"message"`
			Detail  json.RawMessage `json:"detail"`
		}
		isJSON := json.Unmarshal([]byte(body), &env) == nil
		words, _ := env.Message.(string)
		if code, ok := env.Code.(string); isJSON && ok && code != "" && (e.Code != code || e.Message != words) {
			t.Errorf("%q is decoded as %q, %q", body, e.Code, e.Message)
		}
		// Only a code of ours decides a kind whatever the status; and what may be
		// tried again is never decided by words.
		if e.Code == "" && (errors.Is(e, mlops.ErrUnavailable) || errors.Is(e, mlops.ErrRateLimited)) {
			t.Errorf("%d with %q would be tried again for its words", status, body)
		}
		if status < 400 && !isJSON && e.Kind != nil && !errors.Is(e, mlops.ErrUnsupported) {
			t.Errorf("status %d with %q has kind %v", status, body, e.Kind)
		}
		if len(e.Message) > 4096 && e.Code == "" {
			t.Errorf("a page of %d bytes became the message", len(e.Message))
		}
	})
}

func FuzzParsePlace(f *testing.F) {
	f.Add("models:/wine@champion/a")
	f.Add("mlflow-artifacts://h/1/../x")
	f.Fuzz(func(t *testing.T, in string) {
		p, err := parsePlace(in, "h")
		if err == nil && strings.Contains("/"+p.path+"/", "/../") {
			t.Errorf("%q leads out by %q", in, p.path)
		}
	})
}
