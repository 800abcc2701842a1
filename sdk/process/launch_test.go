package process_test

import (
	"context"
	"testing"
	"time"

	"github.com/nagatha/nagatha-runtime/sdk/process"
	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

// TestLaunchGivenUp: whoever gives a launch up, before it has begun or in the middle,
// does not wait for a handshake that never comes, as when the runtime shuts down.
func TestLaunchGivenUp(t *testing.T) {
	cfg := config(t, "hang")
	cfg.StartTimeout = time.Minute
	for name, giveUp := range map[string]func(context.CancelFunc){
		"before":     func(cancel context.CancelFunc) { cancel() },
		"meanwhile":  func(cancel context.CancelFunc) { go cancel() },
		"in the end": func(cancel context.CancelFunc) { time.AfterFunc(100*time.Millisecond, cancel) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			start := time.Now()
			giveUp(cancel)
			p, err := process.Launch(ctx, cfg)
			if err == nil {
				_ = p.Close(context.Background())
				t.Fatal("it launched")
			}
			if d := time.Since(start); d > cfg.StartTimeout/2 {
				t.Errorf("it took %v: %v", d, err)
			}
		})
	}
}

// TestMutualTLS: a plugin in Go speaks it where the configuration asks for it.
func TestMutualTLS(t *testing.T) {
	cfg := config(t, "")
	cfg.MTLS = true
	got, err := launch(t, cfg).Handle(t.Context(), task("echo", `{"n":1}`), sdktest.NewHost())
	if err != nil || string(got) != `{"n":1}` {
		t.Errorf("got %s, %v", got, err)
	}
}
