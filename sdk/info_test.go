package sdk

import (
	"strings"
	"testing"
)

func TestInfoValidate(t *testing.T) {
	good := func() Info {
		return Info{Name: "demo", Version: "1", Handlers: []HandlerInfo{{Kind: "demo.echo"}, {Kind: "demo.pong"}},
			Subscriptions: []Subscription{{Type: "demo.*", Kind: "demo.pong"}}}
	}
	if err := good().Validate(); err != nil {
		t.Fatalf("a good manifest: %v", err)
	}
	for want, spoil := range map[string]func(*Info){
		`name ""`:                          func(i *Info) { i.Name = "" },
		`name "De mo"`:                     func(i *Info) { i.Name = "De mo" },
		"version is empty":                 func(i *Info) { i.Version = "" },
		"no handlers":                      func(i *Info) { i.Handlers, i.Subscriptions = nil, nil },
		"declared twice":                   func(i *Info) { i.Handlers[1].Kind = "demo.echo" },
		"must begin with":                  func(i *Info) { i.Handlers[0].Kind = "other.echo" },
		`kind "echo"`:                      func(i *Info) { i.Handlers[0].Kind = "echo" },
		"payload_schema is not":            func(i *Info) { i.Handlers[0].PayloadSchema = []byte("{") },
		"must not be negative":             func(i *Info) { i.Handlers[0].MaxAttempts = -1 },
		"backoff and max_backoff must not": func(i *Info) { i.Handlers[0].Retry = &RetryPolicy{Backoff: -1} },
		`subscription "demo..x"`:           func(i *Info) { i.Subscriptions[0].Type = "demo..x" },
		`version "1\x1b[2J"`:               func(i *Info) { i.Version = "1\x1b[2J" },
		"at most 64 printable":             func(i *Info) { i.Version = strings.Repeat("x", 65) },
		"want at most 16384 bytes":         func(i *Info) { i.Handlers[0].Description = strings.Repeat("x", 17<<10) },
		"1001 handlers":                    func(i *Info) { i.Handlers = make([]HandlerInfo, 1001) },
		"101 subscriptions":                func(i *Info) { i.Subscriptions = make([]Subscription, 101) },
		"21 capabilities":                  func(i *Info) { i.Capabilities = make([]string, 21) },
		`capability "a\nb"`:                func(i *Info) { i.Capabilities = []string{"a\nb"} },
		"not among the handlers":           func(i *Info) { i.Subscriptions[0].Kind = "demo.other" },
	} {
		i := good()
		spoil(&i)
		if err := i.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		} else if len(err.Error()) > 4<<10 {
			t.Errorf("the error has %d bytes", len(err.Error()))
		}
	}
}
