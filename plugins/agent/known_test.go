package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A turn right after the runtime's start waits for the plugins that are not loaded yet,
// so that the model hears of their tools, but not for ever and not for a command that
// needs none.
func TestWaitsForPluginsThatLoad(t *testing.T) {
	for name, tt := range map[string]struct {
		message string
		loads   time.Duration // that the plugins take
		waits   time.Duration
		tools   int
	}{
		"loaded":   {"hi", 0, 0, 1},
		"loading":  {"hi", 3 * time.Second, 3 * time.Second, 1},
		"too slow": {"hi", time.Hour, loadingTime, 0},
		"/help":    {"/help", time.Hour, 0, 0},
		"/tools":   {"/tools", time.Second, time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := setup(t, `{}`)
				w.model.say = script("hello")
				began := time.Now()
				w.Loading = func() bool {
					if time.Since(began) < tt.loads {
						return true
					}
					if len(w.Kinds) == 0 {
						w.echoes("demo.echo")
					}
					return false
				}
				w.Loading() // what is loaded before is known
				m := w.chat("s", tt.message)
				if took := time.Since(began); took < tt.waits || took > tt.waits+loadingLook {
					t.Errorf("it took %v, want %v", took, tt.waits)
				}
				if tt.message == "hi" && len(w.model.last().Tools) != tt.tools {
					t.Errorf("the model is told of %d tools, want %d", len(w.model.last().Tools), tt.tools)
				}
				if tt.message == "/tools" && m["response"] != "demo_echo (auto): " {
					t.Errorf("%q", m["response"])
				}
				if said := slices.ContainsFunc(w.Lines(), func(s string) bool { return s == "log INFO plugins are being loaded [type model]" }); said != (tt.waits > 0) {
					t.Errorf("said so: %v", said)
				}
			})
		})
	}
}
