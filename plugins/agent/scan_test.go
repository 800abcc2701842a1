package main

import (
	"encoding/json"
	"reflect"
	"testing"
	"unicode/utf8"
)

// decode is what the scanner finds, as encoding/json would give it.
func decode(p *scanner) any {
	switch p.peek() {
	case '"':
		return p.text()
	case '{':
		m := map[string]any{}
		p.object(func(key string) { m[key] = decode(p) })
		return m
	case '[':
		list := []any{}
		p.array(func() { list = append(list, decode(p)) })
		return list
	}
	var v any
	if json.Unmarshal([]byte(p.raw()), &v) != nil {
		p.bad = true
	}
	return v
}

func FuzzScanner(f *testing.F) {
	for _, s := range []string{`{"a":"b\\\"c","d":[1,-2.5e3,true,null,{}],"e":{"f":[]}}`, ` [ "x" , "\u00e9\n\\" , [ ] ] `, `"`, `"\`, `{"a"`, `{"a":`, `[1,`, `[,]`, ``, `{"a":}`, `tru`, `"\ud800"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := &scanner{s: s} // whatever comes, it ends
		got := decode(p)
		var want any
		if json.Unmarshal([]byte(s), &want) != nil || !utf8.ValidString(s) {
			return
		}
		if p.bad || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	})
}

func FuzzQuoted(f *testing.F) {
	for _, s := range []string{"", "plain", "\"a\" \\ \n\t\x00\x1f\x7f", "é 漢 \U0001f600", "bad \xff\xc3", "<b>&</b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var wanted, got string
		_ = json.Unmarshal(want, &wanted)
		quoted := appendQuoted(nil, s)
		if err := json.Unmarshal(quoted, &got); err != nil || got != wanted {
			t.Errorf("%q is quoted as %s: %v", s, quoted, err)
		}
		if back := unquote(string(quoted)); back != wanted {
			t.Errorf("%s is %q", quoted, back)
		}
	})
}
