// Package zerovalue checks what types do that were not made by their constructors:
// every exported method is called with arguments that are zero. It is for tests.
package zerovalue

import (
	"context"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// Check calls all exported methods of values, in subtests named "Type.Method".
// None may panic or wait, and one that can return an error must return one, at
// once or by its iterator, unless it is among fine.
func Check(t *testing.T, fine []string, values ...any) {
	t.Helper()
	var called []string
	for _, v := range values {
		of := reflect.TypeOf(v)
		name := of.Name()
		if of.Kind() == reflect.Pointer {
			name = of.Elem().Name()
		}
		for i := range of.NumMethod() {
			method := name + "." + of.Method(i).Name
			called = append(called, method)
			t.Run(method, func(t *testing.T) {
				err, can := call(t, reflect.ValueOf(v).Method(i))
				if can && err == nil && !slices.Contains(fine, method) {
					t.Errorf("%s of a zero value returned no error: the caller takes it as done", method)
				}
			})
		}
	}
	for _, method := range fine {
		if !slices.Contains(called, method) {
			t.Errorf("%s is excepted and does not exist", method)
		}
	}
}

var errorType = reflect.TypeFor[error]()

// call returns the error of a method, and whether it can return one.
func call(t *testing.T, method reflect.Value) (err error, can bool) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("it panicked: %v\n%s", p, debug.Stack())
			err, can = fmt.Errorf("%v", p), true
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var in []reflect.Value
	for i := range method.Type().NumIn() {
		switch arg := method.Type().In(i); {
		case arg == reflect.TypeFor[context.Context]():
			in = append(in, reflect.ValueOf(ctx))
		case method.Type().IsVariadic() && i == method.Type().NumIn()-1:
		default:
			in = append(in, reflect.Zero(arg))
		}
	}
	for _, out := range method.Call(in) {
		switch {
		case out.Type() == errorType:
			can = true
			err, _ = out.Interface().(error)
		case out.Kind() == reflect.Func && out.Type().CanSeq2() && !out.IsNil():
			for _, e := range out.Seq2() {
				if e.Type() == errorType {
					can = true
					err, _ = e.Interface().(error)
				}
			}
			can = can || out.Type().In(0).In(1) == errorType
		case out.Kind() == reflect.Func && out.Type().CanSeq() && !out.IsNil():
			for range out.Seq() {
				break
			}
		}
	}
	if ctx.Err() != nil {
		t.Error("it waits for a server that is not there")
	}
	return err, can
}
