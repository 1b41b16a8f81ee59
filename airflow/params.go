package airflow

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Params are the parameters of a DAG by name: what the conf of a run may hold,
// and what tasks find in MLOPS_CONF_FILE if it does not. The server refuses a run
// whose conf does not match, and so does [Params.Check] before it is sent.
type Params map[string]Param

// Param is the JSON Schema of a parameter. Its "default" is the value of a run
// that gives none; without it, each run has to give one. Keep secrets out of it.
type Param map[string]any

// ParamsOf returns the parameters that a struct holds: their schemas by the
// types of its fields, their descriptions by the tag jsonschema, their defaults by
// the values. More can be said afterwards: params["rank"]["maximum"] = 64.
func ParamsOf(defaults any) (Params, error) {
	t := reflect.TypeOf(defaults)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil, invalid("ParamsOf", "%T is no struct", defaults)
	}
	schema, err := jsonschema.ForType(t, nil)
	if err != nil {
		return nil, invalid("ParamsOf", "%v", err)
	}
	params, values := Params{}, map[string]any{}
	if err := convert(defaults, &values); err != nil {
		return nil, invalid("ParamsOf", "%v", err)
	}
	for name, property := range schema.Properties {
		p := Param{}
		if err := convert(property, &p); err != nil {
			return nil, invalid("ParamsOf", "%s: %v", name, err)
		}
		if v, ok := values[name]; ok {
			p["default"] = v
		}
		params[name] = p
	}
	return params, nil
}

// Schemas returns the DAG's parameters as the server knows them.
func (d DAGSettings) Schemas() Params {
	params := Params{}
	for name, p := range d.Params {
		known, _ := p.(map[string]any)
		schema, _ := known["schema"].(map[string]any)
		param := Param{}
		maps.Copy(param, schema)
		// The server shows null for a default of null, and for none.
		if v, there := known["value"]; v != nil || there && param.takesNull() {
			param["default"] = v
		}
		params[name] = param
	}
	return params
}

func (p Param) takesNull() bool {
	s, err := Params{"p": p}.schema()
	return err == nil && s["p"].Validate(nil) == nil
}

// Check reports whether a run may have this conf. Keys that are no parameters
// pass, as they do on the server. The error matches [mlops.ErrInvalid].
func (p Params) Check(conf map[string]any) error {
	schema, err := p.schema()
	if err != nil {
		return invalid("Check", "%v", err)
	}
	if schema == nil {
		return nil
	}
	var given map[string]any // as the server reads it: numbers are numbers
	if err := convert(conf, &given); err != nil {
		return invalid("Check", "conf: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		v, ok := given[name]
		if _, known := p[name]["default"]; !ok && known {
			continue
		}
		if !ok {
			return invalid("Check", "conf lacks %s, which has no default", name)
		}
		if schema[name].Validate(v) != nil { // whose words are for developers
			rule := maps.Clone(p[name])
			delete(rule, "default")
			delete(rule, "description")
			return invalid("Check", "conf: %s is %.100s, which does not match %.200s", name, jsonText(v), jsonText(rule))
		}
	}
	return nil
}

// schema reads the schema of each parameter.
func (p Params) schema() (map[string]*jsonschema.Resolved, error) {
	if len(p) == 0 {
		return nil, nil
	}
	out := map[string]*jsonschema.Resolved{}
	for name, param := range p {
		var s jsonschema.Schema
		err := encodes(param)
		if err == nil {
			err = convert(param, &s)
		}
		if err == nil {
			out[name], err = s.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
		}
		if err != nil || name == "" || !isText(name) {
			return nil, fmt.Errorf("%.120q is no JSON Schema: %w", name, err)
		}
	}
	return out, nil
}

// convert makes of one value another of the same JSON.
func convert(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// encodes reports whether a value is JSON whose texts Airflow can store:
// PostgreSQL takes no NUL.
func encodes(v any) error {
	b, err := json.Marshal(v)
	if err == nil && strings.Contains(string(b), `\u0000`) {
		err = fmt.Errorf("there is a NUL in it")
	}
	return err
}

func jsonText(v any) string {
	b, _ := json.Marshal(v) // it came out of JSON
	return string(b)
}
