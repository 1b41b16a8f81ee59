package table

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mlops-integration/mlops/drift"
)

// kind is how a column's cells are taken.
type kind int

const (
	kindOpen       kind = iota // to be found out
	kindNumbers                // by request, or as the reference
	kindCategories             // by request, or as the reference
	kindID                     // counted if they are there before
	kindTime                   // the newest counts
)

// form is how a column's categories are written.
type form int

const (
	formText   form = iota // as they stand
	formNumber             // 1, 01 and 1.0 are one
	formTruth              // true and TRUE are True
)

func (f form) String() string { return [...]string{"texts", "numbers", "True and False"}[f] }

// Collector takes the cells of one column, for a reader of another format. It is
// made by [Builder.Collector].
type Collector struct {
	name string
	as   kind
	form form // of its categories, as the reference has them
	most int  // different texts

	rows, missing int
	expect        int          // rows, if the file says how many
	numbers       drift.Values // of cells that are numbers; NaN for missing ones and others
	notNumbers    int
	whole         bool            // all numbers so far are whole
	truths        int             // cells that are True or False
	texts         map[string]int  // by cell, while the column may be one of categories
	bytes         int             // of the keys of texts
	tooMany       bool            // texts were given up, as there are too many
	ids           map[uint64]bool // hashes of the column's cells, for kindID
	repeated      int
	newest        time.Time // for kindTime
	notTimes      int       // its cells that are none

	lost int // cells that are not in texts, as the column seemed to be one of numbers
}

// mostBytes bounds the different texts of a column together.
const mostBytes = 256 << 20

// exact is how many different numbers are kept as texts too, for a column that
// turns out to have categories.
const exact = 1000

func newCollector(name string, o Options) *Collector {
	c := &Collector{name: name, whole: true, most: o.maxCategories(), texts: map[string]int{}, numbers: drift.Values{Limit: o.MaxValues}}
	switch {
	case name == o.ID && name != "":
		c.as, c.ids = kindID, map[uint64]bool{}
		return c
	case name == o.Time && name != "":
		c.as = kindTime
		return c
	case slices.Contains(o.Numerical, name):
		c.as = kindNumbers
	case slices.Contains(o.Categorical, name):
		c.as = kindCategories
	}
	if o.Like == nil {
		return c
	}
	if like, ok := o.Like.Column(name); ok {
		switch like.Type {
		case drift.TypeNumerical:
			c.as = kindNumbers
		case drift.TypeCategorical:
			c.as, c.form = kindCategories, like.form
		}
	}
	return c
}

// Null takes a missing value.
func (c *Collector) Null() {
	c.rows++
	c.missing++
	if c.as != kindCategories {
		c.numbers.Add(math.NaN())
	}
}

// Number takes a number of a file without texts. Whole numbers are kept as they
// are up to 2⁵³. The error is one of too many categories, as those of Truth and
// Word.
func (c *Collector) Number(v float64, whole bool) error {
	if math.IsNaN(v) {
		c.Null()
		return nil
	}
	if c.as == kindNumbers || c.lost > 0 { // no text is needed
		c.rows++
		c.whole = c.whole && whole
		c.number(v)
		if c.as == kindOpen {
			c.lost++
		}
		return nil
	}
	return c.spelt(v, whole, label(v))
}

// Integer is Number of a whole number, whose category has all digits.
func (c *Collector) Integer(n int64) error {
	if c.as == kindNumbers || c.lost > 0 {
		return c.Number(float64(n), true)
	}
	return c.spelt(float64(n), true, strconv.FormatInt(n, 10))
}

// spelt takes a number that stands as raw.
func (c *Collector) spelt(v float64, whole bool, raw string) error {
	c.rows++
	c.whole = c.whole && whole
	return c.keep(v, raw)
}

// Truth takes a cell that is True or False.
func (c *Collector) Truth(v bool) error {
	return c.said(v, map[bool]string{true: "True", false: "False"}[v])
}

// said takes a truth that stands as raw.
func (c *Collector) said(v bool, raw string) error {
	c.rows++
	c.truths++
	return c.keep(map[bool]float64{true: 1}[v], raw)
}

// Text takes a text of a file that has types, which may be a number's.
func (c *Collector) Text(s string) error {
	if v, whole, ok := parse(s); ok {
		return c.spelt(v, whole, s)
	}
	return c.Word(s)
}

// Word takes a cell that is any text.
func (c *Collector) Word(raw string) error {
	c.rows++
	c.notNumbers++
	return c.keep(math.NaN(), raw)
}

// mostExpected is for how many numbers room is made by what a file says of itself.
const mostExpected = 1 << 20

// number keeps a number, with room for the others that the file says it has.
func (c *Collector) number(v float64) {
	if c.expect > 0 && !math.IsNaN(v) {
		c.numbers.Grow(min(c.expect, mostExpected))
		c.expect = 0
	}
	c.numbers.Add(v)
}

func (c *Collector) keep(v float64, raw string) error {
	switch c.as {
	case kindID:
		c.identify(raw)
		return nil
	case kindTime:
		c.at(raw)
		return nil
	}
	if c.as != kindCategories {
		c.number(v)
	}
	if c.as == kindNumbers || c.tooMany {
		c.lost++
		return nil
	}
	_, known := c.texts[raw]
	if !known {
		if err := text(raw); err != nil {
			return err
		}
		if len(c.texts) >= exact && c.as == kindOpen && c.notNumbers+c.truths == 0 {
			c.lost++
			return nil
		}
		if c.bytes += len(raw); len(c.texts) >= c.most || c.bytes > mostBytes {
			c.texts, c.tooMany = nil, true
		} else {
			raw = strings.Clone(raw)
		}
	}
	if c.tooMany {
		c.lost++
		return nil
	}
	c.texts[raw]++
	return nil
}

// mostIDs bounds the IDs that are remembered; those after them are compared with
// these alone.
const mostIDs = 10_000_000

var idSeed = maphash.MakeSeed()

func (c *Collector) identify(raw string) {
	h := maphash.String(idSeed, raw)
	switch {
	case c.ids[h]:
		c.repeated++
	case len(c.ids) < mostIDs:
		c.ids[h] = true
	}
}

// at takes a time as text.
func (c *Collector) at(raw string) {
	for _, layout := range []string{time.RFC3339Nano, time.DateTime, time.DateOnly, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, raw); err == nil {
			c.newer(t)
			return
		}
	}
	c.notTimes++
}

func (c *Collector) newer(t time.Time) {
	if t.After(c.newest) {
		c.newest = t
	}
}

// WantsTime reports whether the column is that of [Options.Time], whose cells a file
// with types hands to Time.
func (c *Collector) WantsTime() bool { return c.as == kindTime }

// Time takes a time.
func (c *Collector) Time(t time.Time) {
	c.rows++
	c.newer(t)
}

// cell takes a cell of a CSV file.
func (c *Collector) cell(s string, missing map[string]bool) error {
	if s == "" || missing[s] {
		c.Null()
		return nil
	}
	if v, ok := truth(s); ok {
		return c.said(v, s)
	}
	if v, whole, ok := parse(s); ok {
		return c.spelt(v, whole, s)
	}
	return c.Word(s)
}

// truth reads what pandas takes for True and False.
func truth(s string) (v, ok bool) {
	switch s {
	case "True", "TRUE", "true":
		return true, true
	case "False", "FALSE", "false":
		return false, true
	}
	return false, false
}

// parse reads a number as pandas does: decimal, with blanks around it.
func parse(s string) (v float64, whole, ok bool) {
	s = strings.Trim(s, " \t")
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return float64(n), true, true
	}
	if strings.ContainsAny(s, "xX_pP") {
		return 0, false, false
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false, false
	}
	return v, false, !math.IsNaN(v)
}

// label is a number as a category: 1 and 1.0 are one.
func label(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// column is what the cells make.
func (c *Collector) column() Column {
	present := c.rows - c.missing
	numbers := present > 0 && 10*(c.notNumbers+c.truths) <= present
	whole := numbers && c.notNumbers+c.truths+c.missing == 0 && c.whole
	none := func(reason string) Column {
		return Column{Column: drift.Column{Name: c.name, Rows: c.rows, Missing: c.missing}, Reason: reason, Foreign: present > 0}
	}
	switch {
	case c.as == kindID:
		out := none("it identifies rows")
		out.Foreign, out.Repeated = false, c.repeated
		return out
	case c.as == kindTime:
		out := none("it is the rows' time")
		out.Foreign, out.Newest, out.Unparsed = false, c.newest, c.notTimes
		return out
	case c.as == kindNumbers:
		return c.numerical(whole)
	case c.tooMany && (c.as == kindCategories || !numbers):
		return none(fmt.Sprintf("it has more than %d different values, or more than %d MiB of them", c.most, mostBytes>>20))
	case c.as == kindCategories && c.form == formText && numbers && c.notNumbers+c.truths == 0:
		return c.categories(formNumber) // by request
	case c.as == kindCategories && c.form == formTruth && numbers && c.notNumbers+c.truths == 0:
		return c.truthsOfNumbers()
	case c.as == kindCategories:
		return c.categories(c.form)
	case present == 0:
		return none("it has no value")
	case whole && c.lost == 0 && c.categories(formNumber).Distinct() <= 10:
		return c.categories(formNumber)
	case numbers:
		return c.numerical(whole)
	case c.lost > 0:
		return none("it has both numbers and texts; name it numerical or categorical")
	case c.truths == present:
		return c.categories(formTruth)
	case 2*len(c.texts) > present:
		return none("it is text, for which there is no method here")
	}
	return c.categories(formText)
}

// categories makes a categorical column, its labels in one form.
func (c *Collector) categories(f form) Column {
	counts := c.texts
	if f != formText {
		counts = make(map[string]int, len(c.texts))
		for raw, n := range c.texts {
			counts[f.label(raw)] += n
		}
	}
	return Column{Column: drift.Counted(c.name, counts, c.missing), form: f}
}

// truthsOfNumbers makes the categories of a column of numbers whose reference has
// True and False: 1 and 0 are these.
func (c *Collector) truthsOfNumbers() Column {
	counts := map[string]int{}
	for raw, n := range c.texts {
		l := formNumber.label(raw)
		if named, ok := map[string]string{"1": "True", "0": "False"}[l]; ok {
			l = named
		}
		counts[l] += n
	}
	return Column{Column: drift.Counted(c.name, counts, c.missing), form: formTruth}
}

func (f form) label(raw string) string {
	if v, ok := truth(raw); ok && f == formNumber { // Python's True is 1
		return map[bool]string{true: "1", false: "0"}[v]
	}
	if v, ok := truth(raw); ok && f == formTruth {
		return map[bool]string{true: "True", false: "False"}[v]
	}
	if v, whole, ok := parse(raw); ok && f == formNumber {
		if n := strings.Trim(raw, " \t+"); whole && n[0] != '0' && n[0] != '-' {
			return n // also beyond 2⁵³
		}
		return label(v)
	}
	return raw
}

func (c *Collector) numerical(whole bool) Column {
	out := Column{Column: c.numbers.Column(c.name, whole)}
	out.Unparsed = c.notNumbers
	return out
}
