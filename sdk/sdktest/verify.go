package sdktest

import (
	"context"
	"errors"
	"fmt"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Verify says what a plugin does not do that every one must, or nil: a valid manifest
// with a description, both schemas and an example for each kind, and a typed refusal
// of a kind that it does not have. The plugin is configured already.
func Verify(ctx context.Context, p Carrier) error {
	var errs []error
	info := p.Info()
	if err := info.Validate(); err != nil {
		errs = append(errs, fmt.Errorf("manifest: %w", err))
	}
	for _, h := range info.Handlers {
		if h.Description == "" || len(h.PayloadSchema) == 0 || len(h.ResultSchema) == 0 || len(h.Example) == 0 {
			errs = append(errs, fmt.Errorf("%s: want a description, both schemas and an example", h.Kind))
		}
	}
	if _, err := p.Handle(ctx, Task(info.Name+".no-such-kind", `{}`), NewHost()); sdk.CodeOf(err) != sdk.CodePluginProtocol {
		errs = append(errs, fmt.Errorf("a kind that it does not have: %v, want %s", err, sdk.CodePluginProtocol))
	}
	return errors.Join(errs...)
}
