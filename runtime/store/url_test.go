package store_test

import (
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/runtime/store"
)

// What is wrong with an address is said, and never what may be its password.
func TestCheckURL(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:secret@h:5432/d":                   "",
		"postgres:///d?host=/run/postgresql":             "",
		"postgres://u:secret@h/d?sslmode=banana":         "sslmode is invalid",
		"postgres://u:secret@h/d?sslrootcert=/no/ca.pem": "/no/ca.pem",
		"postgres://u:secret@h/d?connect_timeout=soon":   "soon",
		"postgres://u:secret@h:port/d":                   "malformed",
		"postgres://u:secret%zz@h/d":                     "percent-encoded",
		"postgres://u:sec/ret@h/d":                       "percent-encoded",
		"postgres://u:sec ret@h/d":                       "percent-encoded",
		"postgres://u:secret@h:99999/d":                  "malformed",
	} {
		err := store.CheckURL(url)
		switch {
		case want == "" && err != nil, want != "" && err == nil:
			t.Errorf("%s: %v", url, err)
		case err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sec")):
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
