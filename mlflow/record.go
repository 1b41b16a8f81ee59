package mlflow

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// kind is what a record is, as the journal writes it. The values are part of
// the journal's form.
type kind uint8

const (
	metricRecord kind = iota + 1
	paramRecord
	tagRecord
	inputRecord
	endRecord
	detachRecord // the program let go of the run without ending it
	blobRecord   // an artifact, its bytes within
	fileRecord   // an artifact, its bytes in a file beside the journal
	outputRecord // a logged model that came out of the run
	tableRecord  // rows for a table, as JSON
)

// record is one thing that was logged, as it will be sent. What one call
// logged shares a number in the journal.
type record struct {
	seq    uint64
	kind   kind
	key    string // of a metric, param or tag; path of an artifact; ID of a model
	text   string // value of a param or tag, status of the end, JSON of an input, name of a file
	value  float64
	millis int64
	step   int64
	model  string
	blob   []byte
}

// String names the record in errors.
func (r record) String() string {
	switch r.kind {
	case metricRecord:
		return fmt.Sprintf("metric %q at step %d", r.key, r.step)
	case paramRecord:
		return fmt.Sprintf("param %q", r.key)
	case tagRecord:
		return fmt.Sprintf("tag %q", r.key)
	case inputRecord:
		var in DatasetInput
		_ = json.Unmarshal([]byte(r.text), &in)
		return fmt.Sprintf("dataset %q", in.Name)
	case blobRecord, fileRecord, tableRecord:
		return fmt.Sprintf("artifact %q", r.key)
	case outputRecord:
		return fmt.Sprintf("model %s", r.key)
	}
	return "the end of the run"
}

// appendTo writes the journal's form of the record: its kind, then its fields;
// texts with their length before them, numbers as varints, values as their bits.
func (r record) appendTo(b []byte) []byte {
	b = append(b, byte(r.kind))
	switch r.kind {
	case metricRecord:
		b = binary.AppendVarint(b, r.step)
		b = binary.AppendVarint(b, r.millis)
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(r.value))
		b = appendText(b, r.key)
		b = appendText(b, r.model)
	case paramRecord, tagRecord:
		b = appendText(b, r.key)
		b = appendText(b, r.text)
	case inputRecord:
		b = appendText(b, r.text)
	case endRecord:
		b = binary.AppendVarint(b, r.millis)
		b = appendText(b, r.text)
	case blobRecord, tableRecord:
		b = appendText(b, r.key)
		b = binary.AppendUvarint(b, uint64(len(r.blob)))
		b = append(b, r.blob...)
	case fileRecord:
		b = appendText(b, r.key)
		b = appendText(b, r.text)
	case outputRecord:
		b = binary.AppendVarint(b, r.step)
		b = appendText(b, r.key)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var (
	errRecord = errors.New("not a record of this program's form")
	errKind   = errors.New("a record of an unknown kind")
)

// readRecords reads what one call logged. What it read before a malformed record
// counts; with one of an unknown kind nothing does.
func readRecords(seq uint64, b []byte) ([]record, error) {
	var out []record
	for len(b) > 0 {
		r := record{seq: seq, kind: kind(b[0])}
		in := fields{b: b[1:]}
		switch r.kind {
		case metricRecord:
			r.step, r.millis, r.value = in.varint(), in.varint(), in.float()
			r.key, r.model = in.text(), in.text()
		case paramRecord, tagRecord:
			r.key, r.text = in.text(), in.text()
		case inputRecord:
			r.text = in.text()
		case endRecord:
			r.millis, r.text = in.varint(), in.text()
		case detachRecord:
		case blobRecord, tableRecord:
			r.key, r.blob = in.text(), []byte(in.text())
		case fileRecord:
			r.key, r.text = in.text(), in.text()
		case outputRecord:
			r.step, r.key = in.varint(), in.text()
		default:
			return nil, errKind
		}
		if in.bad {
			return out, errRecord
		}
		out, b = append(out, r), in.b
	}
	return out, nil
}

// fields takes fields from the front of b; bad once one was not there.
type fields struct {
	b   []byte
	bad bool
}

func (r *fields) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad = true
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *fields) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}

func (r *fields) float() float64 {
	if b := r.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

func (r *fields) text() string {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	r.take(n)
	return string(r.take(int(v)))
}
