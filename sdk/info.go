package sdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Info is a plugin's manifest. It is read before the plugin is trusted with
// anything.
type Info struct {
	Name        string `json:"name"`    // [a-z][a-z0-9_-]*, the first part of its kinds
	Version     string `json:"version"` // printable text, recorded with each attempt
	Description string `json:"description,omitempty"`

	Handlers      []HandlerInfo  `json:"handlers"`
	Subscriptions []Subscription `json:"subscriptions,omitempty"`

	// ConfigSchema is the JSON Schema (2020-12) of the plugin's config block.
	ConfigSchema json.RawMessage `json:"config_schema,omitempty"`

	// Capabilities names what the plugin will ask its Host for: "store",
	// "publish", "http", "secrets", "submit", "await", "approve". They are a request;
	// the grant is written by the operator in config.hcl.
	Capabilities []string `json:"capabilities,omitempty"`
}

// HandlerInfo describes one kind of task.
type HandlerInfo struct {
	Kind        string `json:"kind"`
	Description string `json:"description,omitempty"`

	// PayloadSchema and ResultSchema are JSON Schemas (2020-12); absent means
	// anything goes. A payload that does not fit is refused at submit.
	PayloadSchema json.RawMessage `json:"payload_schema,omitempty"`
	ResultSchema  json.RawMessage `json:"result_schema,omitempty"`
	Example       json.RawMessage `json:"example,omitempty"` // a payload that works

	// Defaults for tasks of this kind that do not say otherwise; zero leaves
	// the runtime's own defaults (1 m, 5 attempts).
	Timeout     Duration     `json:"timeout,omitempty"`
	MaxAttempts int          `json:"max_attempts,omitempty"`
	Retry       *RetryPolicy `json:"retry,omitempty"`
	Queue       string       `json:"queue,omitempty"`

	// Concurrency is the most attempts of this kind that run at once on a
	// node; 0 means no limit of its own.
	Concurrency int `json:"concurrency,omitempty"`

	// Tool marks a kind that an assistant may offer to a model.
	Tool bool `json:"tool,omitempty"`

	// ReadOnly says that a task of this kind changes nothing, Idempotent that doing
	// it twice with the same payload is the same as once. Either lets a caller
	// repeat a call whose outcome a crash has hidden.
	ReadOnly   bool `json:"read_only,omitempty"`
	Idempotent bool `json:"idempotent,omitempty"`
}

// RetryPolicy spaces attempts: the n-th retry waits a random time between 0 and
// min(MaxBackoff, Backoff·2^(n−1)) ("full jitter").
type RetryPolicy struct {
	Backoff    Duration `json:"backoff,omitempty"`     // default 1s
	MaxBackoff Duration `json:"max_backoff,omitempty"` // default 5m
}

// Subscription turns each published event whose type matches into one task.
// The task's payload is {"event": the event}.
type Subscription struct {
	Type string `json:"type"` // dotted pattern: "*" is one level, ">" the rest
	Kind string `json:"kind"` // one of the plugin's own kinds
}

// The most that a manifest may have. What is in it goes to logs and to everybody who
// looks at the plugin; its version stands in every task, and each event is matched with
// each subscription.
const (
	maxHandlers      = 1000
	maxSubscriptions = 100
	maxCapabilities  = 20
	maxWord          = 64       // bytes of a version or capability
	maxDescription   = 16 << 10 // bytes
	maxInfoFaults    = 20       // that are named
)

// Validate says what is wrong with the manifest, or nil.
func (i Info) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		if len(errs) < maxInfoFaults {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}

	if !validName(i.Name) {
		bad("name %.80q: want a lower-case name such as \"memory\"", i.Name)
	}
	switch {
	case i.Version == "":
		bad("version is empty")
	case !word(i.Version):
		bad("version %.80q: want at most %d printable characters", i.Version, maxWord)
	}
	if len(i.Description) > maxDescription {
		bad("description: want at most %d bytes", maxDescription)
	}
	for _, list := range []struct {
		name    string
		n, most int
	}{{"handlers", len(i.Handlers), maxHandlers}, {"subscriptions", len(i.Subscriptions), maxSubscriptions}, {"capabilities", len(i.Capabilities), maxCapabilities}} {
		if list.n > list.most {
			bad("%d %s, at most %d can be had", list.n, list.name, list.most)
		}
	}
	for _, c := range i.Capabilities {
		if !word(c) {
			bad("capability %.80q: want a name such as \"store\"", c)
		}
	}
	if len(i.Handlers) == 0 {
		bad("no handlers")
	}
	own := make(map[string]bool, len(i.Handlers))
	for _, h := range i.Handlers {
		switch {
		case !ValidKind(h.Kind):
			bad("kind %.150q: want dotted lower-case names such as \"memory.search\"", h.Kind)
		case !strings.HasPrefix(h.Kind, i.Name+"."):
			bad("kind %.150q: must begin with the plugin's name, %q", h.Kind, i.Name+".")
		case own[h.Kind]:
			bad("kind %q is declared twice", h.Kind)
		}
		own[h.Kind] = true
		if len(h.Description) > maxDescription {
			bad("kind %q: description: want at most %d bytes", h.Kind, maxDescription)
		}
		if h.Timeout < 0 || h.MaxAttempts < 0 || h.Concurrency < 0 {
			bad("kind %q: timeout, max_attempts and concurrency must not be negative", h.Kind)
		}
		if r := h.Retry; r != nil && (r.Backoff < 0 || r.MaxBackoff < 0) {
			bad("kind %q: backoff and max_backoff must not be negative", h.Kind)
		}
		for _, f := range []struct {
			name string
			doc  json.RawMessage
		}{{"payload_schema", h.PayloadSchema}, {"result_schema", h.ResultSchema}, {"example", h.Example}} {
			if len(f.doc) > 0 && !json.Valid(f.doc) {
				bad("kind %q: %s is not JSON", h.Kind, f.name)
			}
		}
	}
	for _, s := range i.Subscriptions {
		if !ValidPattern(s.Type) {
			bad("subscription %.150q: want a dotted pattern such as \"demo.*\" or \"demo.>\"", s.Type)
		}
		if !own[s.Kind] {
			bad("subscription %.150q: kind %.150q is not among the handlers", s.Type, s.Kind)
		}
	}
	return errors.Join(errs...)
}

// word reports whether s is short and can be shown on one line as it is.
func word(s string) bool {
	return len(s) <= maxWord && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) })
}

// Handler returns the description of kind.
func (i Info) Handler(kind string) (HandlerInfo, bool) {
	for _, h := range i.Handlers {
		if h.Kind == kind {
			return h, true
		}
	}
	return HandlerInfo{}, false
}
