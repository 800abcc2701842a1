package api

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestDoors(t *testing.T) {
	const none = "-"
	for _, tt := range []struct {
		name, listen, local, host, origin string
		ok                                bool
	}{
		{"loopback name", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", none, true},
		{"loopback address", "127.0.0.1:8765", "127.0.0.1:8765", "127.0.0.1:8765", none, true},
		{"loopback six", "127.0.0.1:8765", "127.0.0.1:8765", "[::1]:8765", none, true},
		{"upper case", "127.0.0.1:8765", "127.0.0.1:8765", "LOCALHOST:8765", none, true},
		{"free port", "127.0.0.1:0", "127.0.0.1:41234", "localhost:41234", none, true},
		{"other port", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:80", none, false},
		{"no port", "127.0.0.1:8765", "127.0.0.1:8765", "localhost", none, false},
		{"port 80", "127.0.0.1:80", "127.0.0.1:80", "localhost", none, true},
		{"no host", "127.0.0.1:8765", "127.0.0.1:8765", "", none, false},
		{"rebinding", "127.0.0.1:8765", "127.0.0.1:8765", "evil.example:8765", "http://evil.example:8765", false},
		{"foreign address", "127.0.0.1:8765", "127.0.0.1:8765", "10.0.0.9:8765", none, false},
		{"listen host", "10.0.0.5:8765", "10.0.0.5:8765", "10.0.0.5:8765", none, true},
		{"all addresses", "0.0.0.0:8765", "10.0.0.5:8765", "10.0.0.5:8765", none, true},
		{"all, not this one", "0.0.0.0:8765", "10.0.0.5:8765", "10.0.0.6:8765", none, false},
		{"all, a name", ":8765", "10.0.0.5:8765", "evil.example:8765", none, false},
		{"allowed", "127.0.0.1:8765", "127.0.0.1:8765", "tasks.example", none, true},
		{"allowed, any port", "127.0.0.1:8765", "127.0.0.1:8765", "tasks.example:444", none, true},
		{"allowed with port", "127.0.0.1:8765", "127.0.0.1:8765", "exact.example:444", none, true},
		{"allowed with another port", "127.0.0.1:8765", "127.0.0.1:8765", "exact.example:445", none, false},

		{"own origin", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "http://localhost:8765", true},
		{"own origin, other name", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "http://127.0.0.1:8765", true},
		{"behind a proxy", "127.0.0.1:8765", "127.0.0.1:8765", "tasks.example", "https://tasks.example", true},
		{"foreign origin", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "http://evil.example", false},
		{"other port's page", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "http://localhost:3000", false},
		{"allowed origin", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "https://app.example", true},
		{"null", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "null", false},
		{"empty", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "", false},
		{"no scheme", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "localhost:8765", false},
		{"file", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "file://localhost:8765", false},
		{"with user", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "http://a@localhost:8765", false},
		{"suffix", "127.0.0.1:8765", "127.0.0.1:8765", "localhost:8765", "http://localhost:8765.evil.example", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoors(tt.listen, []string{"Tasks.example", "exact.example:444"}, []string{"https://app.example/"})
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			addr, err := net.ResolveTCPAddr("tcp", tt.local)
			if err != nil {
				t.Fatal(err)
			}
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(addr)))
			r.Host = tt.host
			if tt.origin != none {
				r.Header.Set("Origin", tt.origin)
			}
			if err := d.check(r); (err == nil) != tt.ok {
				t.Errorf("%v, want ok: %v", err, tt.ok)
			}
		})
	}
}
