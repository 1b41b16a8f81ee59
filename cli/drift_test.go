package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops/cli"
)

func TestDriftCheckTellsWhatIsWrongWithTheData(t *testing.T) {
	table := func(name string, first, wild int) string {
		var b strings.Builder
		b.WriteString("age,plan\n")
		for i := range 300 {
			age := fmt.Sprint(i*37%200) + ".5"
			if i < wild {
				age = "99999"
			}
			fmt.Fprintf(&b, "%s,p%d\n", age, (i+first)%3)
		}
		return file(t, name, b.String())
	}
	reference, wild := table("ref.csv", 0, 0), table("cur.csv", 1, 25)
	t.Setenv("MLOPS_EVIDENTLY_URL", "http://"+freePort(t))
	t.Setenv("MLOPS_HOME", t.TempDir())
	profile := filepath.Join(t.TempDir(), "ref.profile")
	var made struct {
		Path string
		Rows int
	}
	require.NoError(t, json.Unmarshal([]byte(mlopsctl(t, 0, "drift", "profile", "--json", reference, "-o", profile)), &made))
	require.Equal(t, 300, made.Rows)
	require.FileExists(t, made.Path)

	check := []string{"drift", "check", "-p", "wine", "-C", t.TempDir(), "--quality", "--important", "plan", "--min-rows", "100", "--adjust", profile, wild}
	var doc struct {
		Drifted  bool
		Findings []struct{ Column, Check string }
	}
	require.NoError(t, json.Unmarshal([]byte(mlopsctl(t, 0, append(check, "--json")...)), &doc))
	require.False(t, doc.Drifted)
	require.Equal(t, "age", doc.Findings[0].Column)
	require.Equal(t, "out_of_range", doc.Findings[0].Check)
	require.Contains(t, mlopsctl(t, 0, check...), "finding\tout_of_range")

	require.Contains(t, mlopsctl(t, 0, check...), "\t0.4976", "the adjusted p-value")

	var out, talk bytes.Buffer
	lost := []string{"drift", "check", "-p", "wine", "-C", t.TempDir(), "--column-method", "plan=fisher_exact", "--important", "plan", reference, reference}
	require.Equal(t, 1, cli.Main(t.Context(), lost, strings.NewReader(""), &out, &talk))
	require.Contains(t, talk.String(), `the important column "plan" is missing or could not be judged`)
	talk.Reset()
	require.Equal(t, 1, cli.Main(t.Context(), append(check, "--strict"), strings.NewReader(""), &out, &talk))
	require.Contains(t, talk.String(), "the data's quality: values from 0.5 to 99999")
	talk.Reset()
	few := append(check, "--min-rows", "301")
	require.Contains(t, mlopsctl(t, 0, append(few, "--json")...), `"too_few":true`)
	require.Equal(t, 1, cli.Main(t.Context(), append(few, "--strict"), strings.NewReader(""), &out, &talk))
	require.Contains(t, talk.String(), "no verdict: too few rows")
}

func TestDriftCheckFindsWhatIsWrongWithTextsAndTimes(t *testing.T) {
	type row struct {
		Age  float64   `parquet:"age"`
		Note *string   `parquet:"note,optional"`
		At   time.Time `parquet:"at,timestamp"`
	}
	dir := t.TempDir()
	data := func(name string, missing int) {
		var rows []row
		for i := range 300 {
			r := row{Age: float64(i*37%200) + 0.5, At: time.Unix(int64(i), 0)}
			if i >= missing {
				r.Note = new(fmt.Sprintf("note %d", i))
			}
			rows = append(rows, r)
		}
		require.NoError(t, parquet.WriteFile(filepath.Join(dir, name), rows))
	}
	data("ref.parquet", 0)
	data("cur.parquet", 27)
	t.Setenv("MLOPS_EVIDENTLY_URL", "http://"+freePort(t))
	t.Setenv("MLOPS_HOME", t.TempDir())
	mlopsctl(t, 0, "drift", "profile", "-C", dir, "ref.parquet", "-o", "ref.profile")
	require.FileExists(t, filepath.Join(dir, "ref.profile"))
	for _, reference := range []string{"ref.parquet", "ref.profile"} {
		check := []string{"drift", "check", "-p", "wine", "-C", dir, "--json", "--quality", reference}
		require.NotContains(t, mlopsctl(t, 0, append(check, reference)...), "findings")
		require.Contains(t, mlopsctl(t, 0, append(check, "cur.parquet")...), `"findings":[{"column":"note","check":"missing"`)
	}
}
