package drift

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mlops-integration/mlops"
	"github.com/mlops-integration/mlops/internal/cassette"
	"github.com/mlops-integration/mlops/internal/stackfile"
)

// answers is what the Evidently of that version said to each case; MLOPS_RECORD=1
// with MLOPS_LIVE=1 writes it.
const answers = "../testdata/drift/evidently/0.7.23.json"

// comparison is one pair of columns that both engines are asked about.
type comparison struct {
	name     string
	kind     string // "num", "text", "int", "bool"
	ref, cur []any  // float64, int64, string, bool or nil
}

// methods are those that Evidently takes by name for the type.
func (c comparison) methods() []Method {
	t := TypeCategorical
	if c.kind == "num" {
		t = TypeNumerical
	}
	var out []Method
	for _, m := range methods[:slices.IndexFunc(methods, func(m method) bool { return m.name == MannWhitneyTwoSided })] {
		if slices.Contains(m.types, t) && !c.tooDear(m.name) {
			out = append(out, m.name)
		}
	}
	return out
}

// tooDear reports whether Evidently needs more than 20 s.
func (c comparison) tooDear(m Method) bool {
	short, long := min(len(c.ref), len(c.cur)), max(len(c.ref), len(c.cur))
	return m == MannWhitney && short <= 8 && long > 1000
}

func (c comparison) column(values []any) Column {
	if c.kind != "num" {
		var labels []string
		for _, v := range values {
			switch v := v.(type) {
			case string:
				labels = append(labels, v)
			case int64:
				labels = append(labels, strconv.FormatInt(v, 10))
			case bool:
				labels = append(labels, map[bool]string{false: "False", true: "True"}[v])
			}
		}
		return Categories(c.name, labels, len(values)-len(labels))
	}
	var whole []int64
	var numbers []float64
	for _, v := range values {
		switch v := v.(type) {
		case int64:
			whole, numbers = append(whole, v), append(numbers, float64(v))
		case float64:
			numbers = append(numbers, v)
		default:
			numbers = append(numbers, math.NaN())
		}
	}
	if len(whole) == len(values) {
		return Integers(c.name, whole)
	}
	return Numbers(c.name, numbers)
}

func (c comparison) request(w *bytes.Buffer) error {
	side := func(values []any) []any {
		out := make([]any, len(values))
		for i, v := range values {
			f, ok := v.(float64)
			switch {
			case ok && math.IsNaN(f):
			case ok && math.IsInf(f, 0):
				out[i] = map[bool]string{true: "Infinity", false: "-Infinity"}[f > 0]
			case ok && f == math.Trunc(f) && math.Abs(f) < 1e15:
				out[i] = json.RawMessage(strconv.FormatFloat(f, 'f', 1, 64)) // a float for Python, too
			default:
				out[i] = v
			}
		}
		return out
	}
	return json.NewEncoder(w).Encode(map[string]any{"type": c.kind, "reference": side(c.ref), "current": side(c.cur), "methods": c.methods()})
}

// answer is Evidently's: [value or null, drifted, name] or an error's text.
type answer struct {
	value   *float64
	drifted bool
	chosen  Method
	err     string
}

func (a *answer) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, &a.err) == nil {
		return nil
	}
	parts := []any{&a.value, &a.drifted, &a.chosen}
	return json.Unmarshal(b, &parts)
}

// sizes are the rows of both sides: around each limit at which a method
// changes its formula.
var sizes = [][2]int{{1, 1}, {1, 2}, {2, 2}, {2, 3}, {5, 7}, {8, 9}, {9, 9}, {20, 20}, {20, 21}, {24, 30}, {97, 101}, {140, 12000}, {900, 900}, {1000, 1000}, {1001, 1000}, {1000, 1001}, {50, 20001}, {4001, 9999}, {10000, 10001}}

// shapes make the values of one side; second says whether it is the current one.
var shapes = []struct {
	name, kind string
	at         func(r *rand.Rand, i int, second bool) any
}{
	{"equal normals", "num", func(r *rand.Rand, _ int, _ bool) any { return r.NormFloat64() }},
	{"a small shift up", "num", func(r *rand.Rand, _ int, second bool) any { return r.NormFloat64() + shift(second, 0.08) }},
	{"a shift down", "num", func(r *rand.Rand, _ int, second bool) any { return 3*r.NormFloat64() - shift(second, 1) }},
	{"a wider spread", "num", func(r *rand.Rand, _ int, second bool) any { return 100 + r.NormFloat64()*(1+shift(second, 0.7)) }},
	{"many ties", "num", func(r *rand.Rand, _ int, second bool) any {
		return math.Round(4*r.NormFloat64()+shift(second, 0.3)) / 4
	}},
	{"missing and infinite", "num", func(r *rand.Rand, i int, second bool) any {
		switch {
		case i%7 == 3:
			return nil
		case i%11 == 5:
			return math.Inf(1 - i%2*2)
		}
		return r.ExpFloat64() + shift(second, 0.05)
	}},
	{"one value", "num", func(*rand.Rand, int, bool) any { return 2.5 }},
	{"one value becomes another", "num", func(_ *rand.Rand, _ int, second bool) any { return 2.5 + shift(second, 1) }},
	{"one value a side but the first", "num", func(_ *rand.Rand, i int, second bool) any { return float64(min(i, 1)) + shift(second, 1) }},
	{"a far outlier", "num", func(r *rand.Rand, i int, second bool) any {
		if second && i == 0 {
			return 1e6
		}
		return r.NormFloat64()
	}},
	{"tiny numbers", "num", func(r *rand.Rand, _ int, second bool) any { return 1e-9 * (r.NormFloat64() + shift(second, 0.1)) }},
	{"whole numbers", "num", func(r *rand.Rand, _ int, second bool) any { return int64(50*r.NormFloat64() + shift(second, 4)) }},
	{"whole numbers of a small range", "num", func(r *rand.Rand, _ int, second bool) any { return r.Int64N(30) + int64(shift(second, 1)) }},
	{"whole numbers, some missing now", "num", func(r *rand.Rand, i int, second bool) any {
		if second && i%5 == 4 {
			return nil
		}
		return r.Int64N(40)
	}},
	{"two whole numbers", "num", func(r *rand.Rand, _ int, second bool) any {
		return int64(min(r.Float64()*(1.7+shift(second, 0.2)), 1.9))
	}},
	{"five numbers", "num", func(r *rand.Rand, _ int, second bool) any {
		return float64(r.IntN(5)) + shift(second && r.IntN(9) == 0, 1)
	}},
	{"two words", "text", func(r *rand.Rand, _ int, second bool) any { return word(r.IntN(10) < 4+int(shift(second, 1))) }},
	{"one word", "text", func(*rand.Rand, int, bool) any { return "only" }},
	{"one word becomes another", "text", func(_ *rand.Rand, _ int, second bool) any { return word(second) }},
	{"five words, one of them new", "text", func(r *rand.Rand, _ int, second bool) any { return "w" + strconv.Itoa(r.IntN(4+int(shift(second, 1)))) }},
	{"five words, one of them gone", "text", func(r *rand.Rand, _ int, second bool) any { return "w" + strconv.Itoa(r.IntN(5-int(shift(second, 1)))) }},
	{"hundreds of words", "text", func(r *rand.Rand, _ int, second bool) any {
		return strconv.Itoa(int(r.ExpFloat64()*40+shift(second, 2))) + "é"
	}},
	{"words, some missing", "text", func(r *rand.Rand, i int, _ bool) any {
		if i%6 == 1 {
			return nil
		}
		return "w" + strconv.Itoa(r.IntN(3))
	}},
	{"numbers as categories", "int", func(r *rand.Rand, _ int, second bool) any { return 8 + r.Int64N(4+int64(shift(second, 1))) }},
	{"truth", "bool", func(r *rand.Rand, _ int, second bool) any { return r.IntN(10) < 3+int(shift(second, 1)) }},
}

func shift(second bool, by float64) float64 {
	if second {
		return by
	}
	return 0
}

func word(b bool) string { return map[bool]string{false: "no", true: "yes"}[b] }

// comparisons are all shapes in all sizes.
func comparisons() []comparison {
	var out []comparison
	for k, s := range shapes {
		for _, size := range sizes {
			r := rand.New(rand.NewPCG(uint64(k), uint64(size[0]*100003+size[1])))
			c := comparison{name: fmt.Sprintf("%s, %d and %d rows", s.name, size[0], size[1]), kind: s.kind}
			for i := range size[0] {
				c.ref = append(c.ref, s.at(r, i, false))
			}
			for i := range size[1] {
				c.cur = append(c.cur, s.at(r, i, true))
			}
			out = append(out, c)
		}
	}
	return out
}

// ask lets the Evidently of the stack answer cases.
func ask(t *testing.T, cases []comparison) map[string]map[Method]json.RawMessage {
	t.Helper()
	python := os.Getenv("MLOPS_EVIDENTLY_PYTHON")
	if python == "" {
		home, err := mlops.Home()
		require.NoError(t, err)
		stack, err := stackfile.Read(home)
		require.NoError(t, err)
		python = stack.Pythons["evidently"]
	}
	var in bytes.Buffer
	for _, c := range cases {
		require.NoError(t, c.request(&in))
	}
	cmd := exec.CommandContext(t.Context(), python, "evidently_test.py")
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	cmd.Env = append(os.Environ(), "DO_NOT_TRACK=1")
	out, err := cmd.Output()
	require.NoError(t, err)
	all := map[string]map[Method]json.RawMessage{}
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for _, c := range cases {
		require.True(t, lines.Scan(), "Evidently ended before %s", c.name)
		one := map[Method]json.RawMessage{}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &one))
		all[c.name] = one
	}
	return all
}

// TestEvidentlyGivesTheSameNumbers compares each method and the choice of one
// with the answers of Evidently itself.
func TestEvidentlyGivesTheSameNumbers(t *testing.T) {
	cases := comparisons()
	var all map[string]map[Method]json.RawMessage
	if cassette.Live() {
		all = ask(t, cases)
		if os.Getenv("MLOPS_RECORD") != "" {
			var b bytes.Buffer
			for i, c := range cases { // one line for each
				one, err := json.Marshal(all[c.name])
				require.NoError(t, err)
				fmt.Fprintf(&b, "%s%q: %s", map[bool]string{true: "{\n", false: ",\n"}[i == 0], c.name, one)
			}
			b.WriteString("\n}\n")
			require.NoError(t, os.WriteFile(answers, b.Bytes(), 0o644))
		}
	} else {
		b, err := os.ReadFile(answers)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &all))
	}
	pairs, noise, worst := 0, 0, 0.0
	for _, c := range cases {
		ref, cur := c.column(slices.Clone(c.ref)), c.column(slices.Clone(c.cur))
		for _, m := range append([]Method{""}, c.methods()...) {
			var want answer
			raw, ok := all[c.name][m]
			require.True(t, ok, "%s, %q: Evidently was not asked", c.name, m)
			require.NoError(t, json.Unmarshal(raw, &want))
			got, err := CompareColumn(ref, cur, Options{Method: m})
			pairs++
			off := differs(want, got, err)
			if off > 1e-9 && c.noise(cmp.Or(m, got.Method)) {
				noise++
				continue
			}
			if off > 1e-9 {
				t.Errorf("%s, %q: Evidently says %s, and we %+v, %v (off by %.1e)", c.name, m, raw, got, err, off)
			}
			worst = max(worst, off)
		}
	}
	t.Logf("%d pairs, the worst difference is %.1e; in %d Evidently's answer is one of rounding or of the order of a set", pairs, worst, noise)
	require.Greater(t, pairs, 3000)
	require.Less(t, noise, 20)
}

// noise reports whether Evidently's answer to the case has no meaning.
func (c comparison) noise(m Method) bool {
	p := pairOf(c.column(slices.Clone(c.ref)), c.column(slices.Clone(c.cur)))
	switch m {
	case EppsSingleton: // the rank of a matrix is one of rounding
		_, _, rank := eppsDifference(p.ref.values, p.cur.values, 1)
		return rank < 4 || p.distinct(5) < 5
	case ChiSquare: // for one category p is 0 or NaN, as a count was rounded
		return p.distinct(2) == 1
	case FisherExact: // of three values it drops one that Python's hashes choose
		return p.distinct(3) > 2
	}
	return false
}

// least is the absolute difference that says nothing: p-values that are
// computed as 1 − x have no more digits.
func least(m Method) float64 {
	if m == CramerVMises {
		return 2e-14
	}
	return 1e-15
}

// differs is the relative difference of two answers; 1 if they differ in more
// than the value.
func differs(want answer, got Result, err error) float64 {
	if want.err != "" || want.value == nil || err != nil {
		if (want.err != "" || want.value == nil) && errors.Is(err, mlops.ErrInvalid) {
			return 0
		}
		return 1
	}
	if want.drifted != got.Drifted || want.chosen != "" && want.chosen != got.Method {
		return 1
	}
	off := math.Abs(got.Value - *want.value)
	if off <= least(got.Method) {
		return 0
	}
	return off / math.Abs(*want.value)
}
