package host

import (
	"net/netip"
	"testing"
)

func TestGrantReaches(t *testing.T) {
	g := Grant{HTTP: []string{"api.example.com", "*.example.org", "127.0.0.1:8080", "LOCALHOST:11434", "[::1]:99", "*.example.net:8443"}}
	for _, c := range []struct {
		host, port  string
		ok, literal bool
	}{
		{"api.example.com", "443", true, false},
		{"API.example.com.", "80", true, false},
		{"example.com", "443", false, false},
		{"evil-api.example.com", "443", false, false},
		{"a.example.org", "443", true, false},
		{"a.b.example.org", "443", true, false},
		{"example.org", "443", false, false},
		{"evilexample.org", "443", false, false},
		{"127.0.0.1", "8080", true, true},
		{"127.0.0.1", "8081", false, false},
		{"localhost", "11434", true, true},
		{"localhost", "80", false, false},
		{"::1", "99", true, true},
		{"x.example.net", "8443", true, false},
		{"x.example.net", "443", false, false},
	} {
		if ok, literal := g.reaches(c.host, c.port); ok != c.ok || literal != c.literal {
			t.Errorf("reaches(%s, %s) = %v, %v, want %v, %v", c.host, c.port, ok, literal, c.ok, c.literal)
		}
	}
}

func TestGrantValidate(t *testing.T) {
	for _, bad := range []Grant{
		{Publish: []string{"demo..x"}}, {Submit: []string{""}},
		{HTTP: []string{"http://example.com"}}, {HTTP: []string{"example.com/x"}}, {HTTP: []string{"a.*.com"}},
		{HTTP: []string{"x:0"}}, {HTTP: []string{"x:99999"}}, {HTTP: []string{"u@x"}}, {HTTP: []string{"*."}},
	} {
		if bad.validate() == nil {
			t.Errorf("%+v passed", bad)
		}
	}
	if err := (Grant{Publish: []string{"demo.*", ">"}, HTTP: []string{"*.example.com", "127.0.0.1:80"}}).validate(); err != nil {
		t.Error(err)
	}
}

func TestPublicAddress(t *testing.T) {
	for addr, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1:248:1893:25c8:1946": true,
		"127.0.0.1": false, "10.1.2.3": false, "192.168.1.1": false, "172.16.0.1": false, "169.254.169.254": false,
		"0.0.0.0": false, "100.64.1.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"::1": false, "::": false, "fe80::1": false, "fd00::1": false, "::ffff:169.254.169.254": false,
		"::ffff:10.0.0.1": false, "64:ff9b::a00:1": false, "2001:db8::1": false, "2002:7f00:1::": false,
		"::127.0.0.1": false, "::10.0.0.1": false, "64:ff9b:1::a00:1": false, "5f00::1": false, "3fff::1": false, "fec0::1": false,
	} {
		if got := publicAddress(netip.MustParseAddr(addr)); got != want {
			t.Errorf("publicAddress(%s) = %v, want %v", addr, got, want)
		}
	}
}
