package host

import (
	"context"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// TestBetween: outside its tasks a plugin can publish what its grant says, and nothing
// else.
func TestBetween(t *testing.T) {
	var published []sdk.Event
	var audits []Audit
	h, err := New(Config{
		Ready: func(context.Context, Ready) error { return nil }, Gone: func(string) {},
		Publish: func(_ context.Context, e sdk.Event) (string, error) {
			published = append(published, e)
			return "evt_1", nil
		},
		Audit:   func(a Audit) { audits = append(audits, a) },
		Plugins: []Plugin{{Name: "x", Command: []string{"x"}, Grant: Grant{Store: true, Publish: []string{"x.*"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := newBetween(h.plugins[0])
	if id, err := sdk.Publish(t.Context(), b, sdk.Event{Type: "x.up", Hops: 9}); id != "evt_1" || err != nil {
		t.Errorf("publish: %s, %v", id, err)
	}
	if len(published) != 1 || published[0].Source != "plugin/x" || published[0].Hops != 1 {
		t.Errorf("published %+v", published)
	}
	if _, err := sdk.Publish(t.Context(), b, sdk.Event{Type: "y.up"}); sdk.CodeOf(err) != sdk.CodeCapabilityDenied {
		t.Errorf("an event that is not granted: %v", err)
	}
	if _, err := b.Call(t.Context(), sdk.OpKVGet, []byte(`{"key":"a"}`)); sdk.CodeOf(err) != sdk.CodeUnavailable {
		t.Errorf("the store: %v", err)
	}
	if len(audits) != 2 || !audits[1].Denied || audits[1].Plugin != "x" || len(published) != 1 {
		t.Errorf("audits %+v", audits)
	}
}
