package host

import (
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// A transaction needs the grants of all its parts.
func TestGuardCommit(t *testing.T) {
	full := sdk.Transaction{Writes: []sdk.KVWrite{{Set: &sdk.KVSet{Key: "a", Value: []byte("1")}}}, Events: []sdk.Event{{Type: "demo.ping"}},
		Tasks: []sdk.Submission{{Kind: "demo.echo"}, {Kind: "demo.echo", Queue: "slow"}}}
	for missing, grant := range map[string]Grant{
		"grant.store":   {Publish: []string{"demo.*"}, Submit: []string{"demo.*"}},
		"grant.publish": {Store: true, Publish: []string{"other.*"}, Submit: []string{"demo.*"}},
		"grant.submit":  {Store: true, Publish: []string{"demo.*"}, Submit: []string{"other.*"}},
		"grant.queues":  {Store: true, Publish: []string{"demo.*"}, Submit: []string{"demo.*"}, Queues: []string{"default"}},
		"":              {Store: true, Publish: []string{"demo.*"}, Submit: []string{"demo.*"}},
	} {
		g, inner, audits := newGuard(t, grant)
		_, err := sdk.Commit(t.Context(), g, full)
		if missing == "" {
			if len(inner.calls) != 1 || len(*audits) != 3 {
				t.Errorf("granted: %v, %d calls, audit %+v", err, len(inner.calls), *audits)
			}
			continue
		}
		if code(err) != sdk.CodeCapabilityDenied || !strings.Contains(err.Error(), missing) || len(inner.calls) != 0 || len(*audits) != 1 {
			t.Errorf("without %s: %v, %d calls, audit %+v", missing, err, len(inner.calls), *audits)
		}
	}
}
