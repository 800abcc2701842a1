package sdk_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
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
