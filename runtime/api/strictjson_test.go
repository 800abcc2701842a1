package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestScanJSON(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct {
		name, text string
		fault      string // a part of it; "" means none
		bad        bool   // it is no JSON
	}{
		{name: "object", text: ` {"a":1,"b":[true,false,null],"c":{"a":-0.5e+3}} `},
		{name: "empty containers", text: `{"a":{},"b":[]}`},
		{name: "scalar", text: `"x"`},
		{name: "same name at other places", text: `{"a":{"a":1},"b":{"a":2}}`},
		{name: "siblings reuse no names", text: `[{"a":1},{"a":1}]`},
		{name: "case differs", text: `{"id":1,"ID":2}`},

		{name: "twice", text: `{"a":1,"b":2,"a":3}`, fault: `"a" stands twice`},
		{name: "twice deep", text: `{"x":[{"a":1,"a":1}]}`, fault: `"a" stands twice`},
		{name: "twice by escape", text: `{"a":1,"\u0061":2}`, fault: `"a" stands twice`},
		{name: "twice among many", text: manyNames(40, "n7"), fault: `"n7" stands twice`},
		{name: "many", text: manyNames(40, "other")},
		{name: "64 deep", text: deep(64)},
		{name: "65 deep", text: deep(65), fault: "nested more than 64"},
		{name: "20,000 deep", text: deep(20_000), fault: "nested more than 64"},
		{name: "twice below the limit", text: `{"a":` + deep(70) + `,"a":1}`, fault: "nested more than 64"},

		{name: "empty", text: "", bad: true},
		{name: "space", text: " \n", bad: true},
		{name: "two values", text: `{} {}`, bad: true},
		{name: "trailing comma", text: `{"a":1,}`, bad: true},
		{name: "trailing comma in list", text: `[1,]`, bad: true},
		{name: "comma first", text: `[,1]`, bad: true},
		{name: "no colon", text: `{"a" 1}`, bad: true},
		{name: "name is no string", text: `{a:1}`, bad: true},
		{name: "single quotes", text: `{'a':1}`, bad: true},
		{name: "open object", text: `{"a":1`, bad: true},
		{name: "open list", text: `[1`, bad: true},
		{name: "open string", text: `"abc`, bad: true},
		{name: "open escape", text: `"abc\`, bad: true},
		{name: "wrong closer", text: `{"a":[1}`, bad: true},
		{name: "bad escape", text: `"\x"`, bad: true},
		{name: "short unicode", text: `"\u12"`, bad: true},
		{name: "raw newline in string", text: "\"a\nb\"", bad: true},
		{name: "leading zero", text: `01`, bad: true},
		{name: "bare minus", text: `-`, bad: true},
		{name: "no fraction", text: `1.`, bad: true},
		{name: "no exponent", text: `1e`, bad: true},
		{name: "plus", text: `+1`, bad: true},
		{name: "NaN", text: `NaN`, bad: true},
		{name: "byte order mark", text: "\ufeff{}", bad: true},
		{name: "comment", text: `{} // x`, bad: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			doc, err := scanJSON([]byte(tt.text))
			if (err != nil) != tt.bad {
				t.Fatalf("error %v, want one: %v", err, tt.bad)
			}
			if err == nil && (doc.fault == "") != (tt.fault == "") || !strings.Contains(doc.fault, tt.fault) {
				t.Errorf("fault %q, want %q", doc.fault, tt.fault)
			}
		})
	}
}

func manyNames(n int, last string) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range n {
		b.WriteString(`"n` + strconv.Itoa(i) + `":0,`)
	}
	return b.String() + `"` + last + `":0}`
}

func TestScanJSONMembers(t *testing.T) {
	doc, err := scanJSON([]byte(`{ "a" : {"x": [1, 2]} , "b":"}" ,"\u0063" : -1.5 }`))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct{ name, value string }{{"a", `{"x": [1, 2]}`}, {"b", `"}"`}, {"c", `-1.5`}}
	if len(doc.members) != len(want) {
		t.Fatalf("%d members, want %d", len(doc.members), len(want))
	}
	for i, w := range want {
		if m := doc.members[i]; m.name != w.name || string(m.value) != w.value {
			t.Errorf("member %d is %s=%s, want %s=%s", i, m.name, m.value, w.name, w.value)
		}
	}
}

// FuzzScanJSON holds the scanner against encoding/json: they must agree on what
// is JSON, and on the members of an object.
func FuzzScanJSON(f *testing.F) {
	for _, seed := range []string{`{"a":1}`, `[[]]`, `{"a":{"b":[null,true]},"c":"\u00e9\n"}`, `1e5`, `{"a":1,"a":2}`, `"\ud800"`, `{"":""}`, "[1,\n2]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return // refused before the scan
		}
		doc, err := scanJSON(text)
		if strings.Contains(doc.fault, "nested") {
			return // encoding/json gives up elsewhere
		}
		if valid := json.Valid(text); valid != (err == nil) {
			t.Fatalf("%q: valid %v, scanner says %v", text, valid, err)
		}
		if err != nil || doc.kind != '{' {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		for _, m := range doc.members {
			got[m.name] = m.value
		}
		if doc.fault == "" && len(got) != len(doc.members) {
			t.Fatalf("%q: a name stands twice and nobody said so", text)
		}
		if len(got) != len(want) {
			t.Fatalf("%q: %d names, want %d", text, len(got), len(want))
		}
		for name, v := range want {
			if string(got[name]) != string(v) {
				t.Fatalf("%q: %q is %s, want %s", text, name, got[name], v)
			}
		}
	})
}
