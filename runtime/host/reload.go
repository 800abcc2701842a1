package host

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// Reload reads a plugin's block of the configuration and its file again. The new version
// takes attempts as soon as it is ready, while those that run finish on the old one, as
// it was configured. If it does not load, the old one stays and the error says why. A
// plugin that was not configured before is loaded.
func (h *Host) Reload(ctx context.Context, name string) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	list, err := h.read(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(c Plugin) bool { return c.Name == name })
	switch {
	case i >= 0:
		return h.apply(ctx, list[i])
	case h.find(name) != nil:
		return sdk.Errorf(sdk.CodeConflict, "plugin %q has no block in config.hcl any more; SIGHUP takes it out of service", name)
	}
	return sdk.Errorf(sdk.CodeNotFound, "there is no plugin %.80q in config.hcl", name)
}

// ReloadAll does what Reload does for every plugin, and takes those out of service that
// are not configured any more. What does not load is in the error, and keeps no other
// from it; a configuration that cannot be read changes nothing.
func (h *Host) ReloadAll(ctx context.Context) error {
	h.reading.Lock()
	defer h.reading.Unlock()
	list, err := h.read(ctx)
	if err != nil {
		return err
	}
	var errs []error
	place := map[string]int{}
	for i, c := range list {
		place[c.Name] = i
		err := h.apply(ctx, c)
		if sdk.CodeOf(err) == sdk.CodeConflict {
			h.log.Info("not reloaded", "plugin", c.Name, "reason", err)
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range h.list() {
		if _, ok := place[p.name]; !ok {
			errs = append(errs, h.remove(ctx, p))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.SortStableFunc(h.plugins, func(a, b *plugin) int { return place[a.name] - place[b.name] })
	return errors.Join(errs...)
}

// read returns the configuration as it is now, once everything in the first one has
// loaded or failed.
func (h *Host) read(ctx context.Context) ([]Plugin, error) {
	select {
	case <-h.loaded:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h.cfg.Read != nil {
		return h.cfg.Read()
	}
	return h.cfg.Plugins, nil
}

// apply makes a plugin what its configuration says.
func (h *Host) apply(ctx context.Context, c Plugin) error {
	if err := c.Grant.validate(); err != nil {
		return fmt.Errorf("plugin %q: %w", c.Name, err)
	}
	p := h.find(c.Name)
	if p == nil {
		// It is loaded by the order that follows, whose answer tells how that went.
		off := c
		off.Off = true
		p = newPlugin(h, off)
		h.mu.Lock()
		run := h.run
		if run != nil {
			h.plugins = append(h.plugins, p)
			run(p, func() {})
		}
		h.mu.Unlock()
		if run == nil {
			return sdk.Errorf(sdk.CodeUnavailable, "the runtime is shutting down")
		}
		if c.Off {
			return nil
		}
	}
	return p.tell(ctx, order{what: orderReload, cfg: c})
}

// remove takes a plugin out of service for good. Attempts that run come to their end.
func (h *Host) remove(ctx context.Context, p *plugin) error {
	if err := p.tell(ctx, order{what: orderRemove}); err != nil {
		return err
	}
	h.mu.Lock()
	h.plugins = slices.DeleteFunc(h.plugins, func(o *plugin) bool { return o == p })
	h.mu.Unlock()
	if err := h.cfg.Forget(ctx, p.name); err != nil {
		return fmt.Errorf("forget plugin %q: %w", p.name, err)
	}
	h.log.Info("plugin is not configured any more", "plugin", p.name)
	return nil
}
