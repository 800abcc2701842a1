package sdk

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestHTTPRequestEncoding(t *testing.T) {
	for _, want := range []HTTPRequest{
		{URL: "http://a/"},
		{Method: "POST", URL: "http://a/?b=\"c\"", Header: map[string][]string{"X": {"1", "2"}}, Body: []byte("{\"a\":\x00\xff}"), Timeout: 5},
	} {
		b, err := want.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeHTTPRequest(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", b, got, err, want)
		}
		if b, err = json.Marshal(want); err != nil {
			t.Fatal(err)
		}
		if got, err = DecodeHTTPRequest(append(b, '\n')); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("all JSON, %s: %+v, %v; want %+v", b, got, err, want)
		}
	}
	for in, want := range map[string]string{
		`{"url":"http://a/"`:                        "EOF",
		`{"url":"http://a/"}` + "x":                 "line feed",
		`{"url":"http://a/"}{}`:                     "line feed",
		`{"url":"http://a/","body":"YQ=="}` + "\nb": "two bodies",
	} {
		if _, err := DecodeHTTPRequest([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
}
