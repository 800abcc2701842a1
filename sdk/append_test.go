package sdk_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// fill gives every field that has a JSON name a value, so that one that was added and
// forgotten is seen.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fill(v.Field(i), n)
			}
		}
	case reflect.String:
		v.SetString([]string{"plain", "a \"quoted\" \\ one", "<ä&\n\x00\u2028>", "bad \xff"}[*n%4])
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n) * 1_234_567_890)
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"b": "2", "a": "<1>", "": "x"}))
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"a":[1,"\u003c"]}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	}
}

func TestAppendJSONIsWhatMarshalWrites(t *testing.T) {
	check := func(r interface{ AppendJSON(b []byte) []byte }) {
		t.Helper()
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.AppendJSON([]byte("x")); string(got) != "x"+string(want) {
			t.Errorf("got  %s\nwant x%s", got, want)
		}
	}
	var full sdk.Transaction
	n := 0
	fill(reflect.ValueOf(&full).Elem(), &n)
	check(full)
	check(sdk.KVApply{Writes: full.Writes})
	zero := int64(0)
	check(sdk.KVApply{Writes: []sdk.KVWrite{{Set: &sdk.KVSet{Key: "k", IfVersion: &zero}}, {Delete: &sdk.KVDelete{}}, {}}})
	check(sdk.Transaction{Events: make([]sdk.Event, 1), Tasks: make([]sdk.Submission, 1)})
	check(sdk.Transaction{})
}

// A value that is no JSON, such as one that a stranger sent, does not become another
// request.
func TestValuesThatAreNotJSON(t *testing.T) {
	for what, evil := range map[string]sdk.Transaction{
		"a write":  {Writes: []sdk.KVWrite{{Set: &sdk.KVSet{Key: "a", Value: json.RawMessage(`1}},{"delete":{"key":"safe"}},{"set":{"key":"b","value":1`)}}}},
		"an event": {Events: []sdk.Event{{Type: "demo.x", Data: json.RawMessage(`1}],"tasks":[{"kind":"demo.pay"}],"x":[{"y":1`)}}},
		"a task":   {Tasks: []sdk.Submission{{Kind: "demo.x", Payload: json.RawMessage(`1},{"kind":"demo.pay"},{"kind":"demo.x"`)}}},
	} {
		h := sdktest.NewHost()
		kv := sdk.NewKV(h)
		if _, err := kv.Set(t.Context(), "safe", 1, 0); err != nil {
			t.Fatal(err)
		}
		if done, err := sdk.Commit(t.Context(), h, evil); sdk.CodeOf(err) != sdk.CodeInvalid || len(sdk.AsError(err).Fields) != 1 {
			t.Errorf("%s: %+v, %v", what, done, err)
		}
		if len(evil.Writes) > 0 {
			if done, err := kv.Apply(t.Context(), evil.Writes...); sdk.CodeOf(err) != sdk.CodeInvalid {
				t.Errorf("apply: %+v, %v", done, err)
			}
		}
		if it, err := kv.Get(t.Context(), "safe"); it == nil || err != nil || len(h.Submitted) > 0 {
			t.Errorf("%s: %v, %v, %d tasks", what, it, err, len(h.Submitted))
		}
	}
}
