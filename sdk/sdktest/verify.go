package sdktest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Verify says what a plugin does not do that every one must, or nil: a valid manifest,
// and a typed refusal of a kind that it does not have. The plugin is configured already.
func Verify(ctx context.Context, p Carrier) error {
	var errs []error
	info := p.Info()
	if err := info.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("manifest: %w", err))
	}
	if _, err := p.Handle(ctx, Task(info.Name+".no-such-kind", `{}`), NewHost()); sdk.CodeOf(err) != sdk.CodePluginProtocol {
		errs = append(errs, fmt.Errorf("a kind that it does not have: %v, want %s", err, sdk.CodePluginProtocol))
	}
	return errors.Join(errs...)
}

// Undescribed says which kinds of a plugin do not tell their callers enough, and what is
// missing. The plugin runs without it; nobody learns how to use it.
func Undescribed(info sdk.Info) []string {
	var out []string
	for _, h := range info.Handlers {
		var missing []string
		for _, part := range []struct {
			name string
			is   bool
		}{{"description", h.Description != ""}, {"payload_schema", len(h.PayloadSchema) > 0},
			{"result_schema", len(h.ResultSchema) > 0}, {"example", len(h.Example) > 0}} {
			if !part.is {
				missing = append(missing, part.name)
			}
		}
		if len(missing) > 0 {
			out = append(out, h.Kind+" has no "+strings.Join(missing, ", "))
		}
	}
	return out
}
