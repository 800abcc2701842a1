package host

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	b := newBetween(h.plugins[0], h.plugins[0].cfg)
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

// TestBetweenLoop: what a plugin publishes between its tasks has no count of steps, so a
// loop of such events and tasks is ended by their number. One that publishes at a
// reasonable rate is never refused.
func TestBetweenLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		published := 0
		h, err := New(Config{
			Ready: func(context.Context, Ready) error { return nil }, Gone: func(string) {},
			Publish: func(context.Context, sdk.Event) (string, error) { published++; return "evt_1", nil },
			Audit:   func(Audit) {},
			Logger:  slog.New(slog.NewTextHandler(&log, nil)),
			Plugins: []Plugin{{Name: "x", Command: []string{"x"}, Grant: Grant{Publish: []string{"x.*"}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		publish := func() error {
			// As after a reload: each life has a host of its own.
			_, err := sdk.Publish(t.Context(), newBetween(h.plugins[0], h.plugins[0].cfg), sdk.Event{Type: "x.up"})
			return err
		}
		for range 3000 { // as fast as it may for ever
			time.Sleep(time.Second / spokenRate)
			if err := publish(); err != nil {
				t.Fatalf("after %d events: %v", published, err)
			}
		}

		// A loop: each event's task publishes the next one, which takes 2 ms.
		published = 0
		for err = publish(); err == nil && published < 1_000_000; err = publish() {
			time.Sleep(2 * time.Millisecond)
		}
		if sdk.CodeOf(err) != sdk.CodeLimitExceeded || sdk.AsError(err).Retryable || published > 2*spokenBurst {
			t.Fatalf("the loop ended after %d events with %v", published, err)
		}
		if n := strings.Count(log.String(), "is there a loop?"); n != 1 {
			t.Errorf("it was said %d times:\n%s", n, log.String())
		}
		if err := publish(); err == nil {
			t.Error("it goes on at once")
		}
		time.Sleep(spokenBurst / 2 / spokenRate * time.Second)
		if err := publish(); err != nil {
			t.Errorf("after a rest: %v", err)
		}
		if !strings.Contains(log.String(), "events=2") {
			t.Errorf("how many were refused is not said:\n%s", log.String())
		}
	})
}
