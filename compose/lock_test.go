package compose

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLocksNameNoIndexAndHashEveryFile(t *testing.T) {
	address := regexp.MustCompile(`(?i)://|--index|--extra-index|--find-links|--trusted-host`)
	for _, venv := range append(environments(), append(supplements, "uv")...) {
		text, sum, err := lockText(venv)
		require.NoError(t, err)
		require.Len(t, sum, 64)
		require.NotRegexp(t, address, text, "%s.txt must not say where to fetch from: the user's own index or mirror does", venv)
		pins := lockPins(text)
		require.NotEmpty(t, pins)
		require.Equal(t, len(pins), strings.Count(text, "=="+"")-strings.Count(markers(text), "=="), "%s.txt has lines that are no pins", venv)
		for block := range strings.SplitSeq(text, "\n") {
			if block != "" && !strings.HasPrefix(block, " ") {
				require.True(t, strings.HasSuffix(block, `\`), "%s.txt: %q has no hash; pip would refuse the whole file", venv, block)
			}
		}
	}
}

// markers is what stands behind semicolons in a lock.
func markers(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		if _, m, ok := strings.Cut(line, ";"); ok {
			out = append(out, m)
		}
	}
	return strings.Join(out, "\n")
}

func TestPinsAreReadWithTheirMarkers(t *testing.T) {
	got := lockPins(`Flask_WTF==1.2.2 \
    --hash=sha256:00
numpy==2.2.6 ; python_full_version < '3.11' \
    --hash=sha256:01
numpy==2.4.6 ; python_full_version >= '3.11' \
    --hash=sha256:02
`)
	require.Equal(t, []pin{
		{"flask-wtf", "1.2.2", true},
		{"numpy", "2.2.6", false},
		{"numpy", "2.4.6", false},
	}, got)
}

func TestLocksHoldTheVersionsWeSpeak(t *testing.T) {
	for _, tt := range []struct{ venv, name, minor string }{
		{"mlflow", "mlflow", "3.17."},
		{"mlflow2", "mlflow", "2.22."},
		{"airflow", "apache-airflow", "3.3."},
		{"ray", "ray", "2.60."},
		{"evidently", "evidently", "0.7."},
		{"dvc", "dvc", "3.67."},
	} {
		v, err := lockedVersion(tt.venv, tt.name)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(v, tt.minor), "%s is locked at %s; readiness and recipes are measured for %s*", tt.name, v, tt.minor)
	}
	server, err := lockedVersion("mlflow", "mlflow")
	require.NoError(t, err)
	loader, err := lockedVersion("ray", "mlflow-skinny")
	require.NoError(t, err)
	require.Equal(t, server, loader, "replicas load with another MLflow than the one that keeps the models")
	_, err = lockedVersion("mlflow", "no-such-thing")
	require.Error(t, err)
	_, _, err = lockText("mlfow")
	require.ErrorContains(t, err, `"mlfow"; there are mlflow, airflow`)
}

func TestDriftNamesWhatDiffers(t *testing.T) {
	pins := []pin{{"flask", "3.1", true}, {"numpy", "2.2", false}, {"numpy", "2.4", false}, {"pywin32", "311", false}, {"six", "1.17", true}}
	for _, tt := range []struct {
		name string
		have map[string]string
		want string
	}{
		{"as locked, without what is for other platforms", map[string]string{"flask": "3.1", "numpy": "2.4", "six": "1.17"}, ""},
		{"missing, changed and strange", map[string]string{"flask": "3.0", "numpy": "2.3", "attrs": "25"},
			"attrs 25 is not in the lock, flask is 3.0 instead of 3.1, numpy is 2.3 instead of 2.2 or 2.4, six 1.17 is missing"},
		{"much", map[string]string{"a": "1", "b": "1", "c": "1", "flask": "3.1", "six": "1.17", "d": "1", "e": "1"},
			"a 1 is not in the lock, b 1 is not in the lock, c 1 is not in the lock, d 1 is not in the lock, and 1 more"},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Equal(t, tt.want, drift(pins, tt.have)) })
	}
}

func FuzzLockPins(f *testing.F) {
	f.Add("a==1 \\\n    --hash=sha256:00\n")
	f.Add("a==1 ; x == 'y' \\\n")
	f.Add("==\n;;")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range lockPins(text) {
			if p.name == "" || p.version == "" || strings.ContainsAny(p.version, " ;\\") {
				t.Errorf("%+v out of %q", p, text)
			}
		}
	})
}
