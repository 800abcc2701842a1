package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk"
)

func TestSubmissionFields(t *testing.T) {
	for _, tt := range []struct{ name, text, field, message string }{
		{"unknown", `{"kind":"a.b","prioritty":1}`, "prioritty", "not a known field"},
		{"other case", `{"Kind":"a.b"}`, "Kind", "not a known field"},
		{"missing", `{}`, "kind", "is required"},
		{"null is missing", `{"kind":null}`, "kind", "is required"},
		{"number for text", `{"kind":7}`, "kind", "want a string"},
		{"text for number", `{"kind":"a.b","priority":"1"}`, "priority", "want an integer"},
		{"fraction", `{"kind":"a.b","priority":1.5}`, "priority", "want an integer"},
		{"fraction by exponent", `{"kind":"a.b","priority":15e-1}`, "priority", "want an integer"},
		{"too large an exponent", `{"kind":"a.b","priority":1e400}`, "priority", "want an integer"},
		{"too large a number", `{"kind":"a.b","priority":9223372036854775808}`, "priority", "want an integer"},
		{"time", `{"kind":"a.b","run_at":"tomorrow"}`, "run_at", "want a time"},
		{"duration", `{"kind":"a.b","timeout":30}`, "timeout", "want a duration"},
		{"label", `{"kind":"a.b","labels":{"x":1}}`, "labels.x", "want a string"},
		{"null label", `{"kind":"a.b","labels":{"x":null}}`, "labels.x", "want a string"},
		{"labels", `{"kind":"a.b","labels":[]}`, "labels", "want an object"},
		{"after", `{"kind":"a.b","after":"x"}`, "after", "want a list of strings"},
		{"after null", `{"kind":"a.b","after":[null]}`, "after", "want a list of strings"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := readFields([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			f.submission()
			var e *sdk.Error
			if !errors.As(f.err(), &e) || e.Code != sdk.CodeInvalid {
				t.Fatalf("error %v", f.err())
			}
			for _, got := range e.Fields {
				if got.Field == tt.field && strings.Contains(got.Message, tt.message) {
					return
				}
			}
			t.Errorf("fields %v, want %s: %s", e.Fields, tt.field, tt.message)
		})
	}
}

// Faults are counted beyond a few, so that an answer is not larger than its request.
func TestManyFaults(t *testing.T) {
	var text strings.Builder
	text.WriteString(`{"kind":"a.b","labels":{"":null`)
	for i := range 1000 {
		fmt.Fprintf(&text, `,"k%d":1`, i)
	}
	f, err := readFields([]byte(text.String() + `}}`))
	if err != nil {
		t.Fatal(err)
	}
	f.submission()
	var e *sdk.Error
	if !errors.As(f.err(), &e) || len(e.Fields) != 20 || !strings.HasSuffix(e.Message, "; and 981 more") {
		t.Errorf("%d fields, %.2000s", len(e.Fields), e.Message)
	}
}

// JSON has one kind of number: some languages write 3 as 3.0, and 1000 as 1e3.
func TestIntegers(t *testing.T) {
	for text, want := range map[string]int{`3`: 3, `3.0`: 3, `1e1`: 10, `-250e-1`: -25, `-0.0`: 0, `null`: 0} {
		f, err := readFields([]byte(`{"n":` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := f.number("n"); got != want || f.err() != nil {
			t.Errorf("%s is %d, %v; want %d", text, got, f.err(), want)
		}
	}
}

// Every option of the protocol must be read; a new one must not be forgotten.
func TestSubmissionReadsAll(t *testing.T) {
	want := sdk.Submission{
		Kind: "a.b", Payload: json.RawMessage(`{"x":1}`), Queue: "q", Priority: -3,
		RunAt: sdk.TimeOf(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)), Delay: sdk.Duration(time.Second), Timeout: sdk.Duration(time.Minute),
		Deadline: 1_900_000_000_000, Expires: 1_900_000_000_001, MaxAttempts: 3, IdempotencyKey: "k", Unique: "u",
		ConcurrencyKey: "c", Labels: map[string]string{"l": "v"}, After: []string{"tsk_1"},
	}
	v := reflect.ValueOf(want)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Fatalf("the test leaves %s out", v.Type().Field(i).Name)
		}
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	f, err := readFields(text)
	if err != nil {
		t.Fatal(err)
	}
	got := f.submission()
	if err := f.err(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read %+v\nwant %+v", got, want)
	}
}

func TestParseRequest(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		code       sdk.Code // "" for a good one
		id         string   // "" for none
	}{
		{"string id", `{"jsonrpc":"2.0","id":"7\u0041","method":"ping"}`, "", `"7\u0041"`},
		{"number id", `{"jsonrpc":"2.0","id":1.50e1,"method":"ping","params":{}}`, "", `1.50e1`},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"ping"}`, "", `null`},
		{"no id", `{"jsonrpc":"2.0","method":"ping"}`, "", ``},
		{"no JSON", `{"jsonrpc":"2.0","id":1,`, sdk.CodeParse, `null`},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"}]`, sdk.CodeInvalidRequest, `null`},
		{"scalar", `42`, sdk.CodeInvalidRequest, `null`},
		{"version", `{"jsonrpc":"1.0","id":1,"method":"ping"}`, sdk.CodeInvalidRequest, `1`},
		{"no version", `{"id":1,"method":"ping"}`, sdk.CodeInvalidRequest, `1`},
		{"no method", `{"jsonrpc":"2.0","id":1}`, sdk.CodeInvalidRequest, `1`},
		{"method", `{"jsonrpc":"2.0","id":1,"method":1}`, sdk.CodeInvalidRequest, `1`},
		{"long id", `{"jsonrpc":"2.0","id":"` + strings.Repeat("x", 16<<10) + `","method":"ping"}`, sdk.CodeInvalidRequest, `null`},
		{"object id", `{"jsonrpc":"2.0","id":{},"method":"ping"}`, sdk.CodeInvalidRequest, `null`},
		{"bool id", `{"jsonrpc":"2.0","id":true,"method":"ping"}`, sdk.CodeInvalidRequest, `null`},
		{"unknown member", `{"jsonrpc":"2.0","id":1,"method":"ping","parms":{}}`, sdk.CodeInvalidRequest, `1`},
		{"a reply", `{"jsonrpc":"2.0","id":1,"result":{}}`, sdk.CodeInvalidRequest, `1`},
		{"twice", `{"jsonrpc":"2.0","method":"ping","params":{"a":1,"a":2},"id":"x"}`, sdk.CodeInvalidRequest, `"x"`},
		{"id twice", `{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}`, sdk.CodeInvalidRequest, `null`},
		{"deep", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}}`, sdk.CodeInvalidRequest, `1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := parseRequest([]byte(tt.text))
			code := ""
			if err != nil {
				code = err.Code
			}
			if code != tt.code || string(req.id) != tt.id {
				t.Errorf("code %q id %s, want %q %s", code, req.id, tt.code, tt.id)
			}
		})
	}
	// Libraries that always send params send null where there are none.
	req, err := parseRequest([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := req.params.err(); err != nil {
		t.Errorf("params null: %v", err)
	}
	req, err = parseRequest([]byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	if sdk.CodeOf(req.params.err()) != sdk.CodeInvalid {
		t.Errorf("params as a list: %v, want invalid", req.params.err())
	}
}
