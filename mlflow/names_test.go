package mlflow

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
)

func TestWhatMLflowCannotStoreIsRefusedAtOnce(t *testing.T) {
	c, err := New(Options{URL: "http://lab.invalid", HTTP: &http.Client{Transport: fault(func(path, _ string) (int, error) { return 0, refusedDial })}, Journal: Journal{Dir: t.TempDir()}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	r := startOne(t, c)
	ctx, long := t.Context(), strings.Repeat("n", 304)
	for name, err := range map[string]error{
		"param value":           r.LogParam(ctx, "p", "a\x00b"),
		"param name":            r.LogParam(ctx, "a\x00b", 1),
		"param, line break":     r.LogParam(ctx, "a\nb", 1),
		"tag value":             r.SetTag(ctx, "t", "\x00"),
		"tag name":              r.SetTag(ctx, "a\tb", "x"),
		"metric name":           r.LogMetric(ctx, 1, "a\x7fb", 1),
		"metric's model":        r.LogPoints(ctx, Metric{Key: "m", ModelID: "m-\x00"}),
		"dataset":               r.LogInputs(ctx, DatasetInput{Name: "a\x00", Digest: "d"}),
		"dataset, not UTF-8":    r.LogInputs(ctx, DatasetInput{Name: "a\xff", Digest: "d"}),
		"dataset's schema":      r.LogInputs(ctx, DatasetInput{Name: "a", Digest: "d", Schema: "\x00"}),
		"output":                r.LogOutput(ctx, 1, "m-\x00"),
		"artifact, tab":         r.LogText(ctx, "x", "a\tb"),
		"artifact, line break":  r.LogText(ctx, "x", "a\nb/c"),
		"artifact, CR":          r.LogText(ctx, "x", "a\rb"),
		"artifact, control":     r.LogText(ctx, "x", "a\x01b"),
		"artifact, DEL":         r.LogText(ctx, "x", "a\x7fb"),
		"artifact, not UTF-8":   r.LogText(ctx, "x", "a\xffb"),
		"artifact, other":       r.LogText(ctx, "x", "a\xfeb"),
		"artifact, 304":         r.LogText(ctx, "x", long),
		"artifact, folder":      r.LogText(ctx, "x", long+"/a"),
		"artifact, 128 ü":       r.LogText(ctx, "x", strings.Repeat("ü", 128)),
		"table":                 r.LogTable(ctx, Frame{}, "a\tb.json"),
		"upload":                c.UploadBytes(ctx, "mlflow-artifacts:/0/r", nil, "a\tb"),
		"experiment tag":        c.SetExperimentTag(ctx, "0", "k", "\x00"),
		"model's tag":           c.Models.SetTag(ctx, "m", "k", "\x00"),
		"model's description":   second(c.Models.Describe(ctx, "m", "\xff")),
		"model":                 second(c.Models.Create(ctx, "a\x00", ModelOptions{})),
		"version":               second(c.Models.CreateVersion(ctx, "m", "s3://x", ModelVersionOptions{Tags: map[string]string{"k": "\x00"}})),
		"experiment":            second(c.CreateExperiment(ctx, "a\x00", ExperimentOptions{})),
		"look-up":               second(c.Models.Get(ctx, "a\x00")),
		"run's name, 304":       second(c.StartRun(ctx, Experiment{ID: "0"}, RunOptions{Name: long})),
		"run's name":            second(c.StartRun(ctx, Experiment{ID: "0"}, RunOptions{Name: "a\x00"})),
		"run's name, not UTF-8": second(c.StartRun(ctx, Experiment{ID: "0"}, RunOptions{Name: "a\xff"})),
		"run's description":     second(c.StartRun(ctx, Experiment{ID: "0"}, RunOptions{Description: "a\x00"})),
		"run's experiment":      second(c.StartRun(ctx, Experiment{Name: "a\x00"}, RunOptions{})),
		"resumed run's name":    second(c.ResumeRun(ctx, "r", RunOptions{Name: long})),
		"assessment":            second(c.Traces.CreateAssessment(ctx, "tr-1", Assessment{Name: "a\x00"})),
	} {
		require.ErrorIs(t, err, mlops.ErrInvalid, "%s", name)
	}
	require.Zero(t, r.Pending(), "a refused record is not journaled")
}

func second[T any](_ T, err error) error { return err }

func TestWhatMLflowStoresIsNotRefused(t *testing.T) {
	for _, name := range []string{"a b", "ü", "a\u0085b", "a\u00a0b", " a ", "..x", "a.", "~x", "C:x", "a;b", "a?b", "a%b", "a&b", "\uffff", "\u200b", strings.Repeat("n", 255), strings.Repeat("ü", 127)} {
		p, err := uploadPath("dir/" + name)
		require.NoError(t, err, "%q", name)
		require.Equal(t, "dir/"+name, p)
	}
	for _, value := range []string{"a\tb", "a\nb", "\x01", "\x7f", "\u0085", "\ufffd", "\uffff", `\u0000`, `\ufffd`, `\\`, `a\`} {
		require.NoError(t, checkValue("LogParam", "param", "p", value, 6000), "%q", value)
		b, err := json.Marshal(value)
		require.NoError(t, err)
		require.NoError(t, storableJSON("LogParam", b), "%q", value)
	}
	require.NoError(t, checkRunName("StartRun", "a\tb\n"+strings.Repeat("ü", 246)))
	require.False(t, errors.Is(checkRunName("StartRun", ""), mlops.ErrInvalid))
}
