package airflow

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Diff says in words what a redeclaration changes, one change a line: of the
// DAG first, then of its tasks in their order. It is empty if nothing changes.
// Defaults are filled in before, so that what only moved is no change.
func Diff(before, after DAGSpec) []string {
	old, now := tree(before), tree(after)
	oldTasks, nowTasks := tasksOf(old), tasksOf(now)
	delete(old, "tasks")
	delete(now, "tasks")
	lines := changes("", old, now)
	for _, t := range before.Tasks {
		if nowTasks[t.ID] == nil {
			lines = append(lines, "task "+t.ID+" is removed")
		}
	}
	for _, t := range after.Tasks {
		if oldTasks[t.ID] == nil {
			lines = append(lines, "task "+t.ID+" is added")
			continue
		}
		for _, line := range changes("", oldTasks[t.ID], nowTasks[t.ID]) {
			lines = append(lines, "task "+t.ID+": "+line)
		}
	}
	return lines
}

// tree is a declaration as JSON knows it, with durations as texts.
func tree(d DAGSpec) map[string]any {
	t, _ := plainValue(reflect.ValueOf(d.Resolved())).(map[string]any)
	return t
}

func tasksOf(dag map[string]any) map[string]map[string]any {
	out := map[string]map[string]any{}
	tasks, _ := dag["tasks"].([]any)
	for _, task := range tasks {
		t := task.(map[string]any)
		out[fmt.Sprint(t["id"])] = t
	}
	return out
}

// plainValue makes maps by JSON's names of structs, and leaves empty fields out.
func plainValue(v reflect.Value) any {
	if v.IsValid() && v.CanInterface() {
		if text, ok := v.Interface().(fmt.Stringer); ok { // a duration, a time
			return text.String()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return plainValue(v.Elem())
	case reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ","); !v.Field(i).IsZero() {
				out[name] = plainValue(v.Field(i))
			}
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for key, value := range v.Seq2() {
			out[key.String()] = plainValue(value)
		}
		return out
	case reflect.Slice:
		var out []any
		for _, item := range v.Seq2() {
			out = append(out, plainValue(item))
		}
		return out
	case reflect.Invalid:
		return nil
	}
	if !v.CanInterface() { // a field of a value of the caller's
		return fmt.Sprint(v)
	}
	return v.Interface()
}

// changes compares two trees.
func changes(path string, old, now map[string]any) []string {
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(merged(old, now))) {
		a, b := old[key], now[key]
		at := strings.TrimPrefix(path+"."+key, ".")
		inA, aIsMap := a.(map[string]any)
		inB, bIsMap := b.(map[string]any)
		switch {
		case same(a, b):
		case (aIsMap || a == nil) && (bIsMap || b == nil):
			lines = append(lines, changes(at, inA, inB)...)
		case a == nil:
			lines = append(lines, fmt.Sprintf("%s is set to %s", at, shown(b)))
		case b == nil:
			lines = append(lines, fmt.Sprintf("%s is no longer set (it was %s)", at, shown(a)))
		case isLong(a) || isLong(b):
			lines = append(lines, at+" changes"+firstDifference(a, b))
		default:
			lines = append(lines, fmt.Sprintf("%s changes from %s to %s", at, shown(a), shown(b)))
		}
	}
	return lines
}

// same compares as the file does: 1 and 1.0 are one number.
func same(a, b any) bool { return reflect.DeepEqual(a, b) || jsonText(a) == jsonText(b) }

func merged(a, b map[string]any) map[string]any {
	out := maps.Clone(b)
	if out == nil {
		out = map[string]any{}
	}
	maps.Copy(out, a)
	return out
}

func isLong(v any) bool {
	s, ok := v.(string)
	return ok && (len(s) > 60 || strings.Contains(s, "\n"))
}

// firstDifference names the first line in which two texts differ.
func firstDifference(a, b any) string {
	was, is := strings.Split(fmt.Sprint(a), "\n"), strings.Split(fmt.Sprint(b), "\n")
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			return fmt.Sprintf(" in line %d from %s to %s", i+1, shown(was[i]), shown(is[i]))
		}
	}
	return fmt.Sprintf(" from %d lines to %d", len(was), len(is))
}

// shown is a value as JSON, shortened.
func shown(v any) string {
	s := strings.ToValidUTF8(jsonText(v), "\ufffd")
	if r := []rune(s); len(r) > 80 {
		return string(r[:77]) + "…"
	}
	return s
}
