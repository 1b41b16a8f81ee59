package mlflow

import "encoding/json"

// Signature is what goes into a model and what comes out. MLflow checks
// inputs against it.
type Signature struct {
	Inputs  []Field
	Outputs []Field
}

// Field is a column or a tensor of a signature.
type Field struct {
	Name string // may be empty for a single output or tensor

	// Type of a column: "boolean", "integer", "long", "float", "double",
	// "string", "binary", "datetime". With Shape set it is the tensor's dtype:
	// "float64", "int64".
	Type     string
	Shape    []int // of a tensor; -1 is any length
	Optional bool  // of a column: may be missing
}

// Columns are required columns of one type.
func Columns(typ string, names ...string) []Field {
	out := make([]Field, len(names))
	for i, n := range names {
		out[i] = Field{Name: n, Type: typ}
	}
	return out
}

// Tensor is a single tensor without a name.
func Tensor(dtype string, shape ...int) []Field { return []Field{{Type: dtype, Shape: shape}} }

type wireTensor struct {
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
}

type wireField struct {
	Type     string      `json:"type"`
	Name     string      `json:"name,omitempty"`
	Required *bool       `json:"required,omitempty"`
	Tensor   *wireTensor `json:"tensor-spec,omitempty"`
}

// wire is the form in MLmodel: each part is JSON in a text.
func (s Signature) wire() (map[string]any, error) {
	out := map[string]any{"params": nil}
	for name, fields := range map[string][]Field{"inputs": s.Inputs, "outputs": s.Outputs} {
		if len(fields) == 0 {
			out[name] = nil
			continue
		}
		list := make([]wireField, len(fields))
		for i, f := range fields {
			if f.Type == "" {
				return nil, invalid("LogModel", "signature: field %q of the %s has no type", f.Name, name)
			}
			if f.Shape != nil {
				list[i] = wireField{Type: "tensor", Name: f.Name, Tensor: &wireTensor{f.Type, f.Shape}}
				continue
			}
			list[i] = wireField{Type: f.Type, Name: f.Name, Required: new(!f.Optional)}
		}
		b, err := json.Marshal(list)
		if err != nil {
			return nil, err
		}
		out[name] = string(b)
	}
	return out, nil
}
