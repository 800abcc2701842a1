package sdk

import (
	"encoding/json"
	"reflect"
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
		var got HTTPRequest
		if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", b, got, err, want)
		}
	}
}
