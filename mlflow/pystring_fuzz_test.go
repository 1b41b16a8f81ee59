package mlflow

import (
	"bufio"
	"encoding/json"
	"io"
	"math"
	"os/exec"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// judge is Python itself. For a text, the bits of a float and bytes it prints
// the str of each, and whether what we print of a list with the text reads back.
const judge = `
import ast, base64, json, struct, sys
for line in sys.stdin:
    q = json.loads(line)
    s, b = q["Text"], base64.b64decode(q["Bytes"] or "")
    x = struct.unpack("<d", struct.pack("<Q", q["Float"]))[0]
    print(json.dumps({"Float": str(x), "Bytes": str(b), "List": str([s, x, b]), "Dict": str({s: x}), "Same": ast.literal_eval(q["Quoted"]) == s}), flush=True)
`

type question struct {
	Text, Quoted string
	Float        uint64
	Bytes        []byte
}

type verdict struct {
	Float, Bytes, List, Dict string
	Same                     bool
}

// resident starts the judge; the function it returns asks it one question.
func resident(f *testing.F) func(*testing.T, question) verdict {
	cmd := exec.Command("python3", "-c", judge)
	in, err := cmd.StdinPipe()
	require.NoError(f, err)
	pipe, err := cmd.StdoutPipe()
	require.NoError(f, err)
	require.NoError(f, cmd.Start())
	f.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	out := bufio.NewReader(pipe)
	return func(t *testing.T, q question) (v verdict) {
		line, err := json.Marshal(q)
		require.NoError(t, err)
		_, err = io.WriteString(in, string(line)+"\n")
		require.NoError(t, err)
		answer, err := out.ReadBytes('\n')
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(answer, &v))
		return v
	}
}

func FuzzPyString(f *testing.F) {
	ask := resident(f)
	f.Add("it's", 1e16, []byte{0xff})
	f.Add("\"'\\\t\x00\x7f", 1e-5, []byte("a'\"\r"))
	f.Add("\u00a0\u2028\U0001F600", math.Inf(-1), []byte{})
	f.Add("", math.Copysign(0, -1), []byte(nil))
	f.Add("x", 123456789012345680.0, []byte("\\"))
	f.Fuzz(func(t *testing.T, s string, x float64, b []byte) {
		for _, v := range []any{s, x, b, []any{s, x, b}, map[string]any{s: &x}} {
			if got := PyString(v); !utf8.ValidString(got) {
				t.Errorf("%q is not UTF-8", got)
			}
		}
		if !utf8.ValidString(s) {
			return // no text in Python either
		}
		if got := PyString(s); got != s {
			t.Errorf("a text is printed as itself, %q came for %q", got, s)
		}
		list := []any{s}
		quoted := strings.TrimSuffix(strings.TrimPrefix(PyString(list), "["), "]")
		want := ask(t, question{s, quoted, math.Float64bits(x), b})
		if got := PyString(x); got != want.Float {
			t.Errorf("float %v is %q, Python prints %q: MLflow would refuse the second spelling", x, got, want.Float)
		}
		if got := PyString(append([]byte{}, b...)); got != want.Bytes {
			t.Errorf("bytes %q are %q, Python prints %q", b, got, want.Bytes)
		}
		if !want.Same {
			t.Errorf("%q is quoted as %s, which Python reads as another text", s, quoted)
		}
		// What is printable depends on the version of Unicode; up to here it is settled.
		if strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxLatin1 }) >= 0 {
			return
		}
		if got := PyString([]any{s, x, append([]byte{}, b...)}); got != want.List {
			t.Errorf("list is %q, Python prints %q", got, want.List)
		}
		if got := PyString(map[string]any{s: &x}); got != want.Dict {
			t.Errorf("dict is %q, Python prints %q", got, want.Dict)
		}
	})
}
