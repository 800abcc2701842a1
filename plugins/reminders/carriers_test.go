package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nagatha/nagatha-runtime/sdk/sdktest"
)

func TestBothCarriers(t *testing.T) {
	sdktest.Carriers(t, "github.com/nagatha/nagatha-runtime/plugins/reminders", sdktest.Options{Config: json.RawMessage(`{"zone":"Europe/Berlin"}`)},
		func(t *testing.T, p sdktest.Plugin) {
			sdktest.Conformance(t, p)
			h := sdktest.NewHost()
			got, err := p.Run(t, "reminders.create", `{"text":"stretch","at":"2031-07-01 08:00","recurrence":"daily"}`, h)
			if err != nil || !strings.Contains(got, `"due_at":"2031-07-01T06:00:00.000Z"`) || len(h.Submitted) != 1 {
				t.Errorf("create: %s, %v, %d timers", got, err, len(h.Submitted))
			}
			got, err = p.Run(t, "reminders.list", `{}`, h)
			if err != nil || !strings.Contains(got, `"text":"stretch"`) {
				t.Errorf("list: %s, %v", got, err)
			}
			if _, err := p.Run(t, "reminders.create", `{"text":"a","at":"soon"}`, h); err == nil || !strings.Contains(err.Error(), "a time is RFC 3339") {
				t.Errorf("a bad time: %v", err)
			}
			if err := p.Launch(t).Configure(t.Context(), json.RawMessage(`{"zone":"Mars"}`)); err == nil {
				t.Error("a bad zone passed")
			}
		})
}
